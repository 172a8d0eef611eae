import torch
import torch.nn.functional as F

from tests.methods import tiny
from xfeedback.methods import Plain


def test_one_forward_one_backward():
    assert tiny.passes(tiny.module(tiny.feedback("plain"))) == (1, 1)


def test_the_loss_is_cross_entropy_and_nothing_else():
    host, batch = tiny.module(tiny.feedback("plain")), tiny.batch()
    _, terms = host.loss_terms(batch, host.active(), ("0", 0, 0, 0))
    assert list(terms) == ["ce"]
    torch.testing.assert_close(terms["ce"], F.cross_entropy(host.network(batch.x), batch.y), rtol=1e-6, atol=0)


def test_no_feedback_at_all_is_the_same():
    named = tiny.trained(tiny.module(tiny.feedback("plain"), kind="noisy"))
    empty = tiny.trained(tiny.module(kind="noisy"))
    tiny.assert_same_bits(tiny.state(named), tiny.state(empty))


def test_equals_a_hand_written_loop_bit_for_bit():
    """Adam on cross-entropy, written out, on a network without dropout."""
    network, loader = tiny.network(), tiny.batches()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for epoch in range(2):
        loader.set_epoch(epoch)
        for batch in loader:
            optimiser.zero_grad()
            F.cross_entropy(network(batch.x), batch.y, reduction="none").mean().backward()
            optimiser.step()
    found = tiny.trained(Plain(tiny.network()))
    tiny.assert_same_bits(tiny.state(found.network), tiny.state(network))
