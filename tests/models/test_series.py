"""Networks for series: sizes, what they compute, and that they can be explained."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.models.helpers import small
from xfeedback import models
from xfeedback.errors import UserError
from xfeedback.models.lstm import attended
from xfeedback.models.transformer import Attention, Norm, TransformerConfig, position_code

NAMES = ("lstm", "lstm_cell_attention", "tcn", "transformer")
PARAMETERS = {"lstm": 1152, "lstm_cell_attention": 4192, "tcn": 13_197, "transformer": 305_302}
every_network = pytest.mark.parametrize("name", NAMES)


def built(name, in_shape=(12, 3), n_classes=2, **options):
    if name == "transformer":
        options = {"width": 6, "heads": 2, "layers": 2, "feed_forward": 8, **options}
    return models.build(small(name, **options), in_shape, n_classes, seed=0, kind="series")


def draws(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@every_network
def test_bf16(name):
    net, x = built(name).eval(), draws(4, 12, 3).float()
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(x)
    expected = net(x).detach()
    torch.testing.assert_close(logits.float(), expected, rtol=0, atol=0.1 * float(expected.abs().max()) + 0.05)


@every_network
def test_parameter_counts_of_the_benchmark(name):
    network = models.build(models.config_class(name)(name=name), (50, 50), 2, seed=0, kind="series")
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]
    assert set(models.fitting("series")) >= set(NAMES)


@every_network
@pytest.mark.parametrize("in_shape", [(1, 1), (150, 1), (7, 6)])
def test_any_length_and_any_number_of_features(name, in_shape):
    network = built(name, in_shape, 4).eval()
    x = draws(5, *in_shape).float()
    assert network(x).shape == (5, 4)
    assert torch.isfinite(network(torch.zeros(2, *in_shape))).all()
    torch.testing.assert_close(network(x)[:2], network(x[:2]))


@every_network
def test_gradients_at_the_input_can_be_trained_in_both_modes(name):
    network = built(name).double()
    for training in (True, False):
        network.train(training)
        x = draws(4, 12, 3).requires_grad_()
        torch.manual_seed(0)
        (grad,) = torch.autograd.grad(network(x)[:, 0].sum(), x, create_graph=True)
        assert grad.shape == x.shape
        assert bool(grad.any())
        grad.square().sum().backward()
        moved = [n for n, p in network.named_parameters() if p.grad is not None and bool(p.grad.any())]
        assert moved
        network.zero_grad()


@every_network
def test_gradients_equal_finite_differences(name):
    network = built(name).double().eval()
    assert torch.autograd.gradcheck(network, draws(2, 12, 3).requires_grad_())


@every_network
def test_softmax_output_is_that_of_the_logits(name):
    x = draws(3, 12, 3).float()
    logits = built(name).eval()(x)
    assert torch.equal(built(name, output="softmax").eval()(x), logits.softmax(1))


def test_attended_steps_equal_a_loop_with_softmax():
    x, scores = draws(2, 9, 3), 40 * draws(2, 9, 4)
    found = attended(x, scores)
    for b in range(2):
        for t in range(9):
            hops = [scores[b, : t + 1, h].softmax(0) @ x[b, : t + 1] for h in range(4)]
            torch.testing.assert_close(found[b, t], torch.stack(hops).mean(0), rtol=1e-10, atol=1e-12)


def test_attention_of_single_precision_survives_large_later_scores():
    scores = torch.tensor([0.0, 1.0, 200.0])[None, :, None]
    found = attended(torch.tensor([1.0, 3.0, 7.0])[None, :, None], scores)[0, :, 0]
    p = 1 / (1 + 2.718281828)
    torch.testing.assert_close(found, torch.tensor([1.0, p + 3 * (1 - p), 7.0]))


def test_cell_attention_runs_an_lstm_cell_with_one_bias():
    network = built("lstm_cell_attention", dropout=0.0).double()
    cell = nn.LSTMCell(3, 5).double()
    with torch.no_grad():
        cell.weight_ih.copy_(network.gates_input.weight)
        cell.weight_hh.copy_(network.gates_state.weight)
        cell.bias_ih.copy_(torch.linspace(-1, 1, 20))
        network.gates_input.bias.copy_(cell.bias_ih)
        cell.bias_hh.zero_()
    x = draws(2, 12, 3)
    seen, state = attended(x, network.attention(x)), (torch.zeros(2, 5).double(), torch.zeros(2, 5).double())
    for t in range(12):
        state = cell(seen[:, t], state)
    torch.testing.assert_close(network(x), network.head(state[0]))


def test_tcn_looks_back_only_and_as_far_as_its_kernel_says():
    network = built("tcn", (60, 2), dropout=0.0).double()
    x = draws(1, 2, 60).requires_grad_()
    (grad,) = torch.autograd.grad(network.blocks(x)[0, :, 50].sum(), x)
    reached = grad[0].abs().sum(0).nonzero().flatten().tolist()
    assert max(reached) == 50
    assert min(reached) >= 50 - 2 * 3 * (1 + 2 + 4)
    assert network.blocks[0].skip.weight.abs().max() < 0.06
    assert isinstance(network.blocks[1].skip, nn.Identity)


def test_transformer_attention_is_causal_scaled_dot_product_attention():
    config = TransformerConfig(width=6, heads=3, dropout=0.0)
    attention, x = Attention(config).double(), draws(2, 7, 6)
    query, key, value = (
        layer(x).view(2, 7, 3, 2).transpose(1, 2) for layer in (attention.query, attention.key, attention.value)
    )
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).reshape(2, 7, 6)
    torch.testing.assert_close(attention(x), attention.out(expected))


def test_norm_divides_by_the_unbiased_sd():
    norm, x = Norm(5).double(), draws(3, 2, 5)
    torch.testing.assert_close(norm(x), (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6))
    flat = torch.ones(1, 1, 5, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(norm(flat).square().sum(), flat)
    assert torch.isfinite(grad).all()


def test_code_of_positions_has_the_released_exponents():
    code = position_code(30, 50)
    for t, i in ((0, 0), (7, 0), (7, 4), (29, 48)):
        assert float(code[t, i]) == pytest.approx(float(torch.tensor(t / 10000 ** (2 * i / 50)).sin()), abs=1e-6)
        angle = torch.tensor(t / 10000 ** (2 * (i + 1) / 50))
        assert float(code[t, i + 1]) == pytest.approx(float(angle.cos()), abs=1e-6)


def test_networks_for_other_inputs_are_refused_by_name():
    with pytest.raises(
        UserError, match=r"model=gapnet takes images, and the data set holds series. Choose .*lstm.*tcn"
    ):
        models.build(small("gapnet"), (12, 3), 2, seed=0, kind="series")
    with pytest.raises(UserError, match=r"model=tcn takes series, and the data set holds images. Choose .*gapnet"):
        models.build(small("tcn"), (1, 8, 8), 2, seed=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lstm", {"hidden": 0}, "model.hidden=0 must be a positive integer"),
        ("lstm_cell_attention", {"hops": 0}, "model.hops=0 must be"),
        ("tcn", {"channels": []}, r"model.channels=\[\] must be positive integers"),
        ("tcn", {"dropout": 1.0}, "model.dropout=1.0 must be at least 0"),
        ("transformer", {"width": 50, "heads": 4}, r"model.heads=4 must be a divisor of width \(50\)"),
    ],
)
def test_wrong_options_are_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        small(name, **options)


def test_options_are_frozen_and_can_be_replaced():
    config = replace(TransformerConfig(), layers=2)
    assert (config.layers, config.takes) == (2, ("series",))
