"""The networks for texts: ids and embeddings give the same, padding counts for nothing, gradients exist twice."""

import pytest
import torch
from torch import Tensor

from tests.models.helpers import small
from xfeedback import models
from xfeedback.models.text_base import TextNetwork
from xfeedback.models.text_lstm import _reversed

NAMES = ("text_cnn", "text_lstm", "text_transformer")
VOCABULARY = tuple(f"t{i}" for i in range(20))
OPTIONS = {"text_cnn": {"filters": 5}, "text_lstm": {"hidden": 6}, "text_transformer": {"heads": 2}}


def network(name: str, length: int = 9, **options) -> TextNetwork:
    config = small(name, **OPTIONS[name], **options)
    made = models.build(config, (length,), 3, 0, kind="text", vocabulary=VOCABULARY)
    assert isinstance(made, TextNetwork)
    return made.double().eval()


def texts() -> Tensor:
    """Texts of 9, 5, 1 and 3 tokens."""
    ids = torch.randint(1, 20, (4, 9), generator=torch.Generator().manual_seed(0))
    for row, length in enumerate((9, 5, 1, 3)):
        ids[row, length:] = 0
    return ids


def test_all_networks_for_texts_are_tested_here():
    assert set(models.fitting("text")) - {"huggingface"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bits_whatever_ran_before(name):
    first = network(name).state_dict()
    torch.rand(7)
    again = network(name).state_dict()
    config = small(name, **OPTIONS[name])
    other = models.build(config, (9,), 3, 1, kind="text", vocabulary=VOCABULARY).double().state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_bf16(name):
    net, ids = network(name).float(), texts()
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(ids)
    expected = net(ids).detach()
    assert torch.allclose(logits.float(), expected, atol=0.1 * float(expected.abs().max()) + 0.05)


@pytest.mark.parametrize("name", NAMES)
def test_ids_and_their_embeddings_give_the_same(name):
    net, ids = network(name), texts()
    assert net(ids).shape == (4, 3)
    assert torch.equal(net(ids), net(net.embed(ids)))
    assert (net.embed(ids)[ids == 0] == 0).all()
    assert (net.embed(ids)[ids != 0] != 0).any(-1).all()


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_company_change_nothing(name):
    net, ids = network(name), texts()
    together = net(ids)
    for row, length in enumerate((9, 5, 1, 3)):
        torch.testing.assert_close(net(ids[row : row + 1, :length])[0], together[row], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_padding_stays_zero_and_gets_no_gradient(name):
    net, ids = network(name).train(), texts()
    x = net.embed(ids).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).square().sum(), x)
    assert (gradient[ids == 0] == 0).all()
    net(ids).square().sum().backward()
    assert (net.embedding.weight.grad[0] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_text_has_finite_logits_and_gradients(name):
    net = network(name)
    logits = net(torch.zeros(2, 9, dtype=torch.long))
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_gradients(name):
    net = network(name).train()
    x = net.embed(texts())
    (gradient,) = torch.autograd.grad(net(x)[:, 0].sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert net.head.weight.grad.abs().sum() > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name):
    net = network(name).train()
    net(texts()).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_tokens_counts(name):
    net, ids = network(name), texts()[:1]
    assert not torch.allclose(net(ids), net(ids.flip(1)))


@pytest.mark.parametrize("name", NAMES)
def test_padding_in_the_middle_is_looked_over(name):
    """A masked token may be replaced by padding: its row is zero, and logits stay finite."""
    net, ids = network(name), texts()
    ids[0, 4] = 0
    assert net(ids).isfinite().all()
    assert not torch.allclose(net(ids)[0], net(texts())[0])


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_in_training_alone(name):
    net, ids = network(name, dropout=0.5), texts()
    assert torch.equal(net(ids), net(ids))
    net.train()
    assert not torch.equal(net(ids), net(ids))


def test_reading_backwards_turns_texts_round_up_to_their_last_token():
    valid = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
    order = _reversed(valid)
    assert order.tolist() == [[2, 1, 0, 3], [3, 2, 1, 0], [0, 1, 2, 3]]
    assert (order.gather(1, order) == torch.arange(4)).all()


def test_the_lstm_equals_pytorchs_own_on_packed_texts():
    """Bidirectional over packed sequences, the mean over the real tokens."""
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    net, ids = network("text_lstm"), texts()
    both = torch.nn.LSTM(4, 6, batch_first=True, bidirectional=True).double()
    for name, value in net.forwards.named_parameters():
        getattr(both, name).data = value.data
    for name, value in net.backwards.named_parameters():
        getattr(both, f"{name}_reverse").data = value.data
    lengths = (ids != 0).sum(1)
    packed = pack_padded_sequence(net.embed(ids), lengths, batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(both(packed)[0], batch_first=True)
    expected = net.head(states.sum(1) / lengths[:, None])
    torch.testing.assert_close(net(ids), expected, rtol=1e-10, atol=1e-12)


def test_the_convolution_equals_a_loop_over_places():
    net, ids = network("text_cnn", windows=[3]), texts()
    weight, bias = net.convolutions[0].weight, net.convolutions[0].bias
    for row, length in enumerate((9, 5, 1, 3)):
        x = torch.cat([torch.zeros(1, 4), net.embed(ids[row]), torch.zeros(1, 4)]).double()
        places = [(x[p : p + 3].T * weight).sum((1, 2)) + bias for p in range(length)]
        pooled = torch.stack(places).relu().amax(0)
        torch.testing.assert_close(net(ids)[row], net.head(pooled), rtol=1e-10, atol=1e-12)


def test_attention_equals_pytorchs_own():
    from xfeedback.models.text_transformer import Attention

    ours, theirs = Attention(8, 2).double(), torch.nn.MultiheadAttention(8, 2, batch_first=True).double()
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.inner.weight.data, ours.inner.bias.data
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = ours.outer.weight.data, ours.outer.bias.data
    x, valid = torch.randn(4, 9, 8).double(), texts() != 0
    expected, _ = theirs(x, x, x, key_padding_mask=~valid)
    torch.testing.assert_close(ours(x, valid), expected, rtol=1e-10, atol=1e-12)


def test_a_text_longer_than_the_transformer_was_built_for_is_refused():
    with pytest.raises(models.UserError, match="built for texts of 9 tokens at most, not 10"):
        network("text_transformer")(torch.ones(1, 10, dtype=torch.long))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("text_cnn", {"windows": []}, r"windows=\(\) must be a list of positive integers"),
        ("text_cnn", {"filters": 0}, "filters=0 must be a positive integer"),
        ("text_lstm", {"dropout": 1.0}, "dropout=1.0 must be at least 0 and less than 1"),
        ("text_transformer", {"heads": 3}, "heads=3 must be a divisor of width=4"),
    ],
)
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(models.UserError, match=message):
        small(name, **options)


def test_images_and_texts_are_not_mixed_up():
    with pytest.raises(models.UserError, match=r"model=text_cnn takes texts, and the data set holds images"):
        models.build(small("text_cnn"), (1, 8, 8), 3, 0)
    with pytest.raises(
        models.UserError, match=r"model=gapnet takes images, and .* holds texts. Choose model=.*text_cnn"
    ):
        models.build(small("gapnet"), (9,), 3, 0, kind="text", vocabulary=VOCABULARY)
