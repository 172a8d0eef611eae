"""What the benchmarks share, against numbers worked out by hand."""

import numpy as np
import pytest
import torch


def test_works_take_turns_and_warm_up_is_left_out(script):
    common, seen, now = script("common"), [], [0.0]

    def work(name, seconds):
        def done():
            seen.append(name)
            now[0] += seconds

        return done

    times = common.in_turns({"a": work("a", 1.0), "b": work("b", 3.0)}, 2, warm=1, clock=lambda: now[0])
    assert seen == ["a", "b"] * 3
    assert times == {"a": [1.0, 1.0], "b": [3.0, 3.0]}


def test_a_ratio_is_the_median_of_the_pairs_and_its_interval_covers(script):
    common, rng = script("common"), np.random.default_rng(0)
    assert common.ratio([2.0, 6.0, 30.0], [1.0, 2.0, 3.0]).value == 3.0
    inside = 0
    for _ in range(200):
        found = common.ratio(rng.lognormal(np.log(2), 0.1, 25), np.ones(25))
        assert found.low <= found.value <= found.high
        inside += found.low <= 2 <= found.high
    assert 0.88 <= inside / 200 <= 1


def test_peak_memory_is_that_of_the_tensors_alive_at_once(script):
    mebibyte = 2**20

    def work():
        one = torch.ones(mebibyte // 4)
        two = one + 1
        del one
        return two + 1

    assert script("common").peak_bytes(work) == pytest.approx(2 * mebibyte, rel=0.01)


def test_a_bar_is_passed_by_a_larger_number_alone(script):
    bar = script("common").Bar
    assert bar(what="x", bar=1.0, limit="", found=1.1).passed
    assert not any(bar(what="x", bar=b, limit="", found=f).passed for b, f in ((1.0, 1.0), (None, 9.0), (1.0, None)))


def test_the_machine_is_described(script):
    found = script("common").machine()
    assert found["torch"] == torch.__version__
    assert all(found[key] for key in ("cpu", "cores", "python", "commit", "system", "gpu"))
