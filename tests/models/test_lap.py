"""Attention pooling against hand-worked numbers, torch's pooling, plain loops, and the formulas of SoftPool and LIP."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xfeedback.models.lap import LAP, returned_maps, sites, softmax_pool, weighted_pool, window_weights
from xfeedback.models.lap_options import PoolOptions
from xfeedback.models.rows import RowOptions, build_pool
from xfeedback.models.window import Window

WINDOWS = [
    Window(kernel=2, stride=2),
    Window(kernel=3, stride=2, padding=1),
    Window(kernel=2, stride=2, ceil_mode=True),
    Window(kernel=3, stride=2, ceil_mode=True),
    Window(kernel=3, stride=1, padding=1),
    None,
]
every_window = pytest.mark.parametrize("window", WINDOWS, ids=str)
FIXED = {"alpha_init": 1.0, "alpha_param": "clamp", "alpha_trainable": False}
ACTIVATION = {"score_source": "activation", "merge": "channel", "score_act": "identity"}
OLD = {**ACTIVATION, "normalize": False, "eps_out": 1e-7, "alpha_param": "clamp"}


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layer(channels: int = 3, window: Window | None = WINDOWS[0], concepts: int = 1, **options: object) -> LAP:
    torch.manual_seed(0)
    return LAP(channels, PoolOptions(**options), concepts=concepts, window=window).double()  # type: ignore[arg-type]


def looped(x: torch.Tensor, s: torch.Tensor, alpha: float, p: int, window: Window | None) -> torch.Tensor:
    """Equations (2) to (5) cell by cell; ``s`` has one map or one a channel."""
    b, c, height, width = x.shape
    k, stride, pad = (max(height, width), 1, 0) if window is None else (window.kernel, window.stride, window.padding)
    h, w = (1, 1) if window is None else (window.out(height), window.out(width))
    y = torch.zeros(b, c, h, w, dtype=x.dtype)
    for u in range(h):
        for v in range(w):
            rows = [i for i in range(u * stride - pad, u * stride - pad + k) if 0 <= i < height]
            columns = [j for j in range(v * stride - pad, v * stride - pad + k) if 0 <= j < width]
            cells = [(i, j) for i in rows for j in columns]
            for n in range(b):
                for ch in range(c):
                    scores = torch.stack([s[n, min(ch, s.shape[1] - 1), i, j] for i, j in cells])
                    e = torch.exp(-((alpha * (scores.max() - scores)) ** p))
                    y[n, ch, u, v] = sum(wi * x[n, ch, i, j] for wi, (i, j) in zip(e / e.sum(), cells, strict=True))
    return y


@every_window
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("groups", [1, 3])
def test_equals_a_loop_over_cells(window, p, groups):
    x, s = numbers(2, 3, 7, 5), numbers(2, groups, 7, 5, seed=1)
    found = weighted_pool(x, window_weights(s, 1.3, window, p=p), window)
    torch.testing.assert_close(found, looped(x, s, 1.3, p, window), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", [w for w in WINDOWS if w], ids=str)
def test_p_1_without_unfold_equals_the_weights_by_window(window):
    x, s = numbers(2, 3, 9, 8), numbers(2, 1, 9, 8, seed=1)
    expected = weighted_pool(x, window_weights(s, 2.0, window, p=1), window)
    torch.testing.assert_close(softmax_pool(x, s, 2.0, window), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", [w for w in WINDOWS if w], ids=str)
@pytest.mark.parametrize("size", [(6, 6), (7, 9)])
def test_the_grid_is_that_of_torch(window, size):
    x = numbers(1, 1, *size)
    expected = F.max_pool2d(x, window.kernel, window.stride, window.padding, ceil_mode=window.ceil_mode)
    assert (window.out(size[0]), window.out(size[1])) == expected.shape[-2:]


@every_window
@pytest.mark.parametrize("size", [(6, 6), (7, 9)])
def test_alpha_0_is_average_pooling(window, size):
    x = numbers(2, 3, *size)
    found = layer(window=window, alpha_init=0.0, alpha_trainable=False)(x)
    if window is None:
        expected = x.mean((2, 3), keepdim=True)
    else:
        pool = (window.kernel, window.stride, window.padding, window.ceil_mode)
        expected = nn.AvgPool2d(*pool, count_include_pad=False)(x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@every_window
@pytest.mark.parametrize(("p", "bound"), [(1, 0.368), (2, 0.429)])
def test_activation_scores_and_large_alpha_are_max_pooling(window, p, bound):
    x, alpha = numbers(2, 3, 7, 9), 1e6
    found = layer(window=window, p=p, alpha_init=alpha, **ACTIVATION)(x)
    if window is None:
        expected, n = x.amax((2, 3), keepdim=True), 63
    else:
        pool = (window.kernel, window.stride, window.padding)
        expected, n = F.max_pool2d(x, *pool, ceil_mode=window.ceil_mode), window.kernel**2
    below = expected - found
    assert below.min() >= -1e-12
    assert below.max() <= (n - 1) * bound / alpha


def test_softpool_is_p_1_on_activations_with_alpha_1():
    x = numbers(2, 3, 6, 6)
    e = x.exp()
    expected = F.avg_pool2d(x * e, 2) / F.avg_pool2d(e, 2)
    torch.testing.assert_close(layer(p=1, **FIXED, **ACTIVATION)(x), expected, rtol=1e-12, atol=1e-12)


LIP = {"p": 1, "scorer": "lip", "score_scale": 12.0, "merge": "channel", **FIXED}


def test_lip_is_p_1_with_its_own_scorer_and_starts_as_average_pooling():
    window = WINDOWS[1]
    found, x = layer(window=window, **LIP), numbers(2, 3, 8, 8)
    average = nn.AvgPool2d(3, 2, 1, count_include_pad=False)(x)
    torch.testing.assert_close(found(x), average, rtol=1e-12, atol=1e-12)
    nn.init.normal_(found.scorer[6].weight)
    e = (12 * torch.sigmoid(found.scorer[:-1](x))).exp()
    expected = F.avg_pool2d(x * e, 3, 2, 1) / F.avg_pool2d(e, 3, 2, 1)
    torch.testing.assert_close(found(x), expected, rtol=1e-10, atol=1e-12)
    assert (found(x) - average).abs().max() > 0.01


@pytest.mark.parametrize(
    ("options", "alpha", "expected"),
    [
        ({**ACTIVATION, "p": 2}, 1.0, 3.707945),
        ({**ACTIVATION, "p": 1}, 1.0, 3.492653),
        (OLD, 1.0, 1.285098),
        (OLD, 0.1, 2.451415),
    ],
)
def test_worked_numbers_of_one_window(options, alpha, expected):
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=torch.float64)
    assert layer(1, alpha_init=alpha, **options)(x).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("p", "alpha", "expected"),
    [
        (2, 0.1, (0.2510, 0.2506, 0.2494, 0.2491)),
        (2, 1.0, (0.3490, 0.2974, 0.1840, 0.1695)),
        (2, 3.0, (0.8054, 0.1908, 0.0025, 0.0012)),
        (2, 10.0, (1.0, 0.0, 0.0, 0.0)),
        (1, 3.0, (0.6803, 0.2049, 0.0617, 0.0531)),
    ],
)
def test_worked_weights(p, alpha, expected):
    scores = torch.tensor([[[[0.9, 0.5], [0.1, 0.05]]]], dtype=torch.float64)
    found = window_weights(scores, alpha, WINDOWS[0], p=p).flatten()
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=5e-5)


def test_the_channel_bug_takes_the_maximum_of_another_channel():
    x = numbers(1, 2, 2, 2)
    cells, top = x[0].flatten(1), x[0].flatten(1).amax(1)
    expected = torch.stack(
        [
            sum(torch.exp(-((top[(o * 2 + c) // 4] - cells[c, o]) ** 2)) * cells[c, o] for o in range(4)) / 4 + 1e-7
            for c in range(2)
        ]
    )
    found = layer(2, **{**OLD, "channel_bug": True}, alpha_init=1.0)(x).flatten()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@every_window
def test_weights_sum_to_1_ignore_a_constant_and_follow_permutations(window):
    scores = torch.rand(2, 3, 7, 7)
    weights = window_weights(scores, 3.0, window)
    torch.testing.assert_close(weights.sum(2), torch.ones_like(weights[:, :, 0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(window_weights(scores + 5.0, 3.0, window), weights, rtol=0, atol=1e-5)
    one = scores[..., :2, :2]
    turned = window_weights(one.flip((2, 3)), 3.0, WINDOWS[0])
    torch.testing.assert_close(turned, window_weights(one, 3.0, WINDOWS[0]).flip(2), rtol=1e-6, atol=0)


@pytest.mark.parametrize("merge", ["shared_max", "channel_groups", "per_concept_mean"])
def test_outputs_lie_between_the_extremes_of_their_window(merge):
    x = numbers(2, 6, 8, 8)
    found = layer(6, concepts=3, merge=merge)(x)
    assert (found <= F.max_pool2d(x, 2) + 1e-12).all()
    assert (found >= -F.max_pool2d(-x, 2) - 1e-12).all()


@pytest.mark.parametrize("merge", ["shared_max", "channel_groups", "per_concept_mean", "per_concept_concat"])
@pytest.mark.parametrize("window", [WINDOWS[0], WINDOWS[1], None], ids=str)
@pytest.mark.parametrize("p", [1, 2])
def test_merging_equals_its_definition(merge, window, p):
    x, pool = numbers(2, 7, 6, 6), layer(7, window, concepts=3, merge=merge, p=p)
    s, alpha = pool.scorer(x), pool.alpha.item()
    if merge == "shared_max":
        expected = looped(x, s.amax(1, keepdim=True), alpha, p, window)
    elif merge == "channel_groups":
        expected = looped(x, s[:, [0, 0, 0, 1, 1, 2, 2]], alpha, p, window)
    else:
        expected = torch.stack([looped(x, s[:, k : k + 1], alpha, p, window) for k in range(3)]).mean(0)
    pool.train()  # the loop above took the same statistics of the batch
    torch.testing.assert_close(pool(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("window", [WINDOWS[0], WINDOWS[1], None], ids=str)
@pytest.mark.parametrize("p", [1, 2])
def test_gradients_equal_finite_differences(window, p):
    x, s = numbers(1, 2, 4, 4).requires_grad_(), numbers(1, 1, 4, 4, seed=2).requires_grad_()
    alpha = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)

    def pooled(x: torch.Tensor, s: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        return weighted_pool(x, window_weights(s, alpha, window, p=p), window)

    assert torch.autograd.gradcheck(pooled, (x, s, alpha))
    assert torch.autograd.gradgradcheck(pooled, (x, s, alpha))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"p": 1}, {**ACTIVATION, "p": 1}, ACTIVATION], ids=str)
def test_weights_are_float32_under_autocast_and_large_scores_stay_finite(dtype, options):
    pool = LAP(4, PoolOptions(**options), window=WINDOWS[1])
    narrow = dtype == torch.float16 and pool.scorer is not None  # BatchNorm's gradient overflows there
    size = 10.0 if narrow else 1e4
    x = (size * numbers(2, 4, 8, 8)).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype), returned_maps(nn.Sequential(pool)) as maps:
        y = pool(x)
    assert y.dtype == dtype
    assert maps["0"][0].weights.dtype == torch.float32
    assert torch.isfinite(y).all()
    y.float().sum().backward()
    assert torch.isfinite(x.grad).all()
    scores = (1e4 * numbers(2, 1, 8, 8)).float().requires_grad_()
    weights = window_weights(scores, 10.0, WINDOWS[1], p=options.get("p", 2))
    (grad,) = torch.autograd.grad(weights.square().sum(), scores)
    assert torch.isfinite(weights).all()
    assert torch.isfinite(grad).all()


@pytest.mark.parametrize("kind", ["square", "softplus", "clamp"])
def test_alpha_starts_where_it_is_told_and_never_falls_below_0(kind):
    pool = layer(alpha_init=0.7, alpha_param=kind)
    assert pool.alpha.item() == pytest.approx(0.7, rel=1e-6)
    pool.raw_alpha.data.fill_(-0.4)
    assert pool.alpha.item() >= 0


def test_detached_scores_are_not_trained_by_the_output():
    pool = layer(detach_scores=True)
    pool(numbers(2, 3, 4, 4)).sum().backward()
    assert all(p.grad is None for p in pool.scorer.parameters())
    assert not any(p.requires_grad for p in layer(freeze_scorer=True).scorer.parameters())


def test_maps_are_returned_inside_the_block_alone():
    network = nn.Sequential(layer(concepts=4), nn.Conv2d(3, 2, 1).double(), layer(2, None))
    assert list(sites(network)) == ["0", "2"]
    x = numbers(2, 3, 6, 6)
    with returned_maps(network) as maps:
        network(x)
    assert [(len(found), found[0].scores.shape) for found in maps.values()] == [(1, (2, 4, 6, 6)), (1, (2, 1, 3, 3))]
    assert maps["0"][0].weights.shape == (2, 1, 4, 3, 3)
    network(x)
    assert len(maps["0"]) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"merge": "shared_max", "score_source": "activation"}, "merge=shared_max must be channel"),
        ({"alpha_init": 0.0, "alpha_param": "softplus"}, "alpha_init=0.0 must be"),
        ({"alpha_scope": "concept"}, "alpha_scope=concept must be"),
        ({"channel_bug": True}, "channel_bug"),
    ],
)
def test_options_that_cannot_work_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        PoolOptions(**options)


@pytest.mark.parametrize(("cap", "width"), [(None, 128), (32, 32), (500, 128)])
def test_a_cap_makes_lip_small_too(cap, width):
    assert layer(3, window=WINDOWS[0], **LIP, scorer_hidden_cap=cap).scorer[0].out_channels == width
    row = build_pool("lip", "stem", 3, WINDOWS[0], RowOptions(pool=PoolOptions(scorer_hidden_cap=cap)), 4)
    assert row.scorer[0].out_channels == width
