"""Guided backprop against captum and by hand; networks it can't treat are refused by name. LRP as an explainer."""

import re
from importlib import import_module
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop
from torch import nn

from tests.conftest import ROOT
from tests.explain.test_sampled import Words, X, Y, net
from xfeedback.engine.options import Explainer
from xfeedback.explain.deeplift import ExplainerInvalid
from xfeedback.explain.guided import guided_backprop, refuse_unguided
from xfeedback.explain.lrp import relevance
from xfeedback.explain.sampled import input_gradient
from xfeedback.explain.scored import FLOORS, LAP, LRP, NEED_LAYER, PROPAGATED, Explained
from xfeedback.report.labels import EXPLAINERS

OTHERS = (
    "gradient",
    "integrated_gradients",
    "smoothgrad",
    "deeplift",
    "deeplift_functional",
    "gradient_shap",
    "deep_shap",
    "lime",
)


def test_guided_backprop_equals_captum():
    network = net()
    found = guided_backprop(network, X, Y)
    oracle = GuidedBackprop(network).attribute(X.clone().requires_grad_(), target=Y)
    torch.testing.assert_close(found, oracle, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found, input_gradient(network, X, Y))


def test_guided_backprop_by_hand():
    """z = relu(x1) - relu(x2) + relu(x3), x3 < 0: the second path is negative, the third is shut."""
    network = nn.Sequential(nn.ReLU(), nn.Linear(3, 1, bias=False))
    network[1].weight.data = torch.tensor([[1.0, -1.0, 1.0]])
    found = guided_backprop(network, torch.tensor([[2.0, 3.0, -1.0]]), torch.tensor([0]))
    assert found.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("how", ["twice", "in place"])
def test_layers_may_run_twice_and_in_place(how):
    network = net(how)
    refuse_unguided(network, X)
    torch.testing.assert_close(guided_backprop(network, X, Y), guided_backprop(net(), X, Y))


def test_the_network_stays_as_it_was():
    network = net()
    guided_backprop(network, X, Y)
    torch.testing.assert_close(input_gradient(network, X, Y), input_gradient(net(), X, Y), rtol=0, atol=0)
    assert all(p.grad is None for p in network.parameters())


def test_functions_and_networks_without_relu_are_refused_by_name():
    with pytest.raises(ExplainerInvalid, match="Net: it calls relu as a function, not as a layer"):
        refuse_unguided(net("functions"), X)
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(128, 3), nn.Tanh()).double()
    with pytest.raises(ExplainerInvalid, match="Sequential: it has no ReLU, so this would be the gradient"):
        refuse_unguided(smooth, X)
    refuse_unguided(net("pooling"), X)  # the rule is of ReLUs alone
    kept, notes = Explained(network=smooth, layer=None, baseline=None).usable(("guided_backprop", "gradient"), X)
    assert kept == ("gradient",)
    assert notes[0].startswith("guided_backprop was left out: guided backprop can't explain")


class Rectified(Words):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def classify(self, x, valid):
        return super().classify(self.relu(x), valid)


def test_series_and_texts_have_maps_too():
    torch.manual_seed(0)
    x = torch.randn(5, 7, 3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(21, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    explained = Explained(network=network, layer=None, baseline=torch.zeros(3), kind="series")
    names = ("guided_backprop", "lrp_epsilon")
    assert explained.usable(names, x) == (names, ())
    maps, logits = explained.maps(names, x)
    torch.testing.assert_close(maps["guided_backprop"], guided_backprop(network, x, logits.argmax(1)).abs())
    ids = torch.tensor([[3, 4, 5, 0], [6, 0, 0, 0]])
    words = Explained(network=Rectified().eval(), layer=None, baseline=torch.zeros(1), kind="text")
    found, logits = words.maps(("guided_backprop",), ids)
    embedded = words.entered(ids)
    expected = guided_backprop(words.network, embedded, logits.argmax(1)).norm(dim=-1)
    torch.testing.assert_close(found["guided_backprop"], expected)


@pytest.mark.parametrize("name", LRP)
def test_lrp_is_an_explainer_by_its_rules(name):
    network = net()
    maps, _ = Explained(network=network, layer=None, baseline=None).maps([name], X, target=Y)
    expected = relevance(network, X, Y, name.removeprefix("lrp_")).abs().mean(1)
    torch.testing.assert_close(maps[name], expected)


def test_networks_without_a_rule_of_lrp_are_left_out_with_a_note():
    class Odd(nn.Module):
        def forward(self, x):
            return F.normalize(x.flatten(1)).erfinv()[:, :3]

    kept, notes = Explained(network=Odd(), layer=None, baseline=None).usable(("lrp_epsilon",), X)
    assert kept == ()
    assert notes[0].startswith("lrp_epsilon was left out: LRP has no rule for")


def test_every_explainer_has_a_name_in_tables_and_a_place_on_the_page():
    names = set(get_args(Explainer))
    assert names == set(EXPLAINERS) == {*NEED_LAYER, *FLOORS, *LAP, *PROPAGATED, *OTHERS}
    page = (ROOT / "docs" / "explainers.md").read_text()
    choices = (ROOT / "conf" / "evaluation" / "default.yaml").read_text()
    assert [name for name in names if f"`{name}`" not in page] == []
    functions = re.findall(r"`(xfeedback\.[\w.]+)\.(\w+)`", page)
    assert functions
    assert [name for module, name in functions if not hasattr(import_module(module), name)] == []
    assert [name for name in names if not re.search(rf"\b{name}\b", choices)] == []
