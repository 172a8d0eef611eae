"""What a decoy's colour changes inside the right evidence, against receptive fields worked out by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.engine.small import small_spec
from xfeedback import models
from xfeedback.engine.evaluate import evaluate
from xfeedback.engine.leak import leak_share
from xfeedback.engine.options import EvaluationConfig
from xfeedback.engine.run import load_task
from xfeedback.metrics import changed_cells
from xfeedback.types import Batch

CPU = torch.device("cpu")


def views(side: int, n: int = 6, corner: tuple[int, int] = (0, 0)) -> tuple[Batch, Batch]:
    """Random images of 32x32 with a centred box as right evidence, and the same with another patch in the corner."""
    numbers = torch.Generator().manual_seed(0)
    x, mask = torch.rand(n, 1, 32, 32, generator=numbers), torch.zeros(n, 32, 32, dtype=torch.bool)
    low = (32 - side) // 2
    mask[:, low : low + side, low : low + side] = True
    wrong = torch.zeros_like(mask)
    wrong[:, 28 * corner[0] : 28 * corner[0] + 4, 28 * corner[1] : 28 * corner[1] + 4] = True
    one = Batch(x=x, y=torch.zeros(n, dtype=torch.long), index=torch.arange(n), mask=mask, wrong=wrong)
    return one, replace(one, x=torch.where(wrong[:, None], 1 - x, x))


def gapnet() -> nn.Module:
    return models.build(models.config_class("gapnet")(name="gapnet"), (1, 32, 32), 10, 0).eval()


def narrow() -> nn.Module:
    """3x3, pool, 3x3, pool, then 1x1 convolutions only: each cell sees 10 pixels."""
    torch.manual_seed(0)
    conv = nn.Conv2d
    layers = [conv(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), conv(16, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), conv(32, 32, 1), nn.ReLU(), conv(32, 64, 1), nn.ReLU()).eval()


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gapnet_leaks_into_at_most_nine_of_the_cells_of_the_24_pixel_box(corner):
    """A cell sees 26 pixels: the three rows and columns of the box nearest to the corner."""
    one, other = views(24, corner=corner)
    found = leak_share(gapnet(), "features", [one], [other])
    assert found is not None
    assert 0 < found <= 100 * 9 / 36


@pytest.mark.parametrize("corner", [(0, 0), (1, 1)])
def test_narrow_networks_do_not_leak_into_the_16_pixel_box(corner):
    one, other = views(16, corner=corner)
    assert leak_share(narrow(), "9", [one], [other]) == 0
    wide = leak_share(narrow(), "9", *[[view] for view in views(24, corner=corner)])
    assert wide is not None
    assert wide == pytest.approx(100 / 36)  # the corner cell sees pixels 1 to 3 of the patch


def test_the_mean_is_over_annotated_images_whose_patch_differs():
    """Equals a loop over single images; batches of another size give the same."""
    one, other = views(24)
    other = replace(other, x=torch.cat([other.x[:4], one.x[4:]]))
    one = replace(one, annotated=torch.tensor([True, False, True, True, True, True]))
    network, shares = gapnet(), []
    for b in (0, 2, 3):
        before, after = (network.features(view.x[b : b + 1])[0] for view in (one, other))
        differs = ((after - before).abs() > 1e-5 * before.abs().max()).any(0)[1:7, 1:7]
        shares.append(100 * differs.float().mean().item())
    assert leak_share(network, "features", [one], [other]) == pytest.approx(sum(shares) / 3)
    assert leak_share(network, "features", [one], [one]) is None


def test_rounding_is_no_change():
    maps = torch.rand(2, 3, 4, 4)
    assert not changed_cells(maps, maps * (1 + 3e-7)).any()
    other = maps.clone()
    other[1, 2, 3, 0] += 1e-3
    assert changed_cells(maps, other).nonzero().tolist() == [[1, 3, 0]]


def test_a_run_with_decoys_and_annotations_logs_it_and_others_do_not(tmp_path):
    config = EvaluationConfig(explained=20, pictures=0)
    task = load_task(small_spec(tmp_path))
    found = evaluate(gapnet(), task, config, CPU).metrics["explanation/leak_share"]
    assert 0 < found <= 100
    bare = load_task(small_spec(tmp_path, decoy={"name": "none"}))
    masked = load_task(small_spec(tmp_path, decoy={"name": "none"}, dataset={"annotation": {"object_mask": "center"}}))
    for other in (bare, masked):
        assert "explanation/leak_share" not in evaluate(gapnet(), other, config, CPU).metrics
