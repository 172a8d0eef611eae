"""What Challenger refuses: places, networks and options, a line each."""

import pytest
import torch
from torch import Tensor, nn

from tests.methods.challenger_host import feedback_of, host_of, run, text_host
from xfeedback.config import from_mapping
from xfeedback.errors import UserError
from xfeedback.feedback.challenge import ChallengerConfig


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU()
        self.last = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 10)
        self.spare = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.conv2(self.relu(self.relu(self.conv1(x))))).mean((2, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": ("features.pol1",)}, r"unknown layer 'features.pol1' in GapNet. Did you mean 'features.pool1'\?"),
        ({"site": "hidden", "site_index": 3}, r"site_index=3: GapNet has 3 hidden places \(features.pool1, "),
    ],
)
def test_places_that_do_not_exist_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        host_of(site=options.pop("site", "random"), **options)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            "relu",
            r"method.challenger.sites: layer 'relu' of Reused runs 2 times in a forward pass; name one that runs once",
        ),
        ("spare", r"layer 'spare' of Reused never runs"),
        ("conv2", r"what layer 'conv2' of Reused gives is overwritten by the next one \(inplace\); name that one"),
    ],
)
def test_layers_that_are_reused_unused_or_overwritten_are_refused(place, message):
    with pytest.raises(UserError, match=message):
        host_of(Reused().double(), site="random", sites=(place,))


def test_a_network_that_reuses_a_layer_is_challenged_elsewhere():
    host = host_of(Reused().double(), site="random")
    assert "relu" not in feedback_of(host).places
    assert "input" in feedback_of(host).places
    for attribution in ("grad_x_input", "lrp_composite"):
        _, terms = run(host_of(Reused().double(), attribution=attribution))
        assert torch.isfinite(terms["challenger/ce"])


def test_a_network_that_lrp_cannot_treat_is_refused_before_training():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softplus(), nn.Flatten(), nn.Linear(1800, 10)).double()
    with pytest.raises(UserError, match=r"LRP has no rule for 'softplus' in layer '1' \(Softplus\) of Sequential"):
        host_of(network, attribution="lrp_epsilon")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "paper"}, "method.challenger.variant=paper must be clean: the paper's text is not available"),
        ({"s_max": -1.0}, r"method.challenger.s_max=-1.0 must be at least s_min=0.0, and finite"),
        ({"s_min": 3.0}, r"s_max=2.0 must be at least s_min=3.0"),
        ({"s_max": float("nan")}, r"s_max=nan must be at least"),
        ({"lambda_challenge": 1.5}, r"lambda_challenge=1.5 must be in \[0, 1\]"),
        ({"prob": -0.1}, r"prob=-0.1 must be in \[0, 1\]"),
        ({"share": 0.0}, "share=0.0 must be above 0"),
        ({"transform": "subtract", "select": "soft"}, "select=soft must be signed for transform=subtract"),
        ({"transform": "mean", "select": "signed"}, "select=signed must be top_k or quantile"),
        ({"attribution": "lrp_gamma", "attr_mode": "train"}, "attr_mode=train must be eval for LRP"),
        ({"input_rule": "flat"}, "input_rule=flat must be null without LRP"),
        ({"attribution": "fgsm", "map_source": "uniform"}, "map_source=uniform must be real for attribution=fgsm"),
        ({"grad_through_map": True, "attribution": "grad_abs"}, "grad_through_map=True must be false unless"),
        ({"loss": "challenged_only", "transform": "top_k_zero"}, "loss=challenged_only must be mix, or allow_collapse"),
        ({"every_n_steps": 0}, "every_n_steps=0 must be 1 or more"),
        ({"transform": "atenuate"}, r"must be one of attenuate.*Did you mean 'attenuate'\?"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        from_mapping(ChallengerConfig, options, "method.challenger")


def test_grad_cam_is_for_images():
    with pytest.raises(UserError, match=r"attribution=grad_cam needs images; choose grad_x_input"):
        text_host(attribution="grad_cam")
