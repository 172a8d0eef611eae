"""timm networks by name: fitted to images and classes, or refused in one line."""

import pytest
import torch

from tests.models.helpers import small
from xfeedback import models
from xfeedback.errors import UserError


@pytest.mark.parametrize("architecture", ["resnet10t", "convnext_atto", "vit_tiny_patch16_224"])
def test_network_fits_channels_size_and_classes(architecture: str) -> None:
    network = models.build(small("timm", architecture=architecture), (1, 32, 32), 7, seed=0)
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_unknown_architecture_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"unknown model\.architecture=resnt10t\. Did you mean 'resnet10t'\?"):
        models.build(small("timm", architecture="resnt10t"), (3, 32, 32), 10, seed=0)


def test_unknown_weight_tag_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.architecture=resnet10t\.nope can't be built: Invalid pretrained tag"):
        models.build(small("timm", architecture="resnet10t.nope"), (3, 32, 32), 10, seed=0)


def test_weights_out_of_reach_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"cannot fetch the weights .*resnet10t.*model\.pretrained=false") as caught:
        models.build(small("timm", pretrained=True), (3, 32, 32), 10, seed=0)
    assert "\n" not in str(caught.value)


def test_image_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"model=timm does not take images of 3x2x2: ") as caught:
        models.build(small("timm", architecture="convnext_atto"), (3, 2, 2), 10, seed=0)
    assert "\n" not in str(caught.value)
