import hashlib

import torch

from xfeedback.seeding import derive, generator


def test_seeds_are_the_first_bits_of_a_hash():
    text = hashlib.sha256(b"5/order/2").hexdigest()
    assert derive(5, "order", 2) == int(text[:16], 16) // 2
    assert derive(5, "order", 2) < 2**63


def test_each_purpose_draws_its_own_numbers():
    purposes = [(seed, name, n) for seed in range(3) for name in ("order", "noise") for n in range(3)]
    assert len({derive(*purpose) for purpose in purposes}) == len(purposes)
    first = torch.rand(4, generator=generator("cpu", 0, "order", 1))
    assert torch.equal(first, torch.rand(4, generator=generator("cpu", 0, "order", 1)))
    assert not torch.equal(first, torch.rand(4, generator=generator("cpu", 0, "order", 2)))


def test_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    torch.rand(4, generator=generator("cpu", 0, "order"))
    assert torch.equal(before, torch.get_rng_state())
