"""The synthetic series: every constant of the benchmark, and that the box and nothing else carries the class."""

import numpy as np
import pytest
from sklearn.gaussian_process.kernels import Matern
from sklearn.preprocessing import MinMaxScaler

from xfeedback import data
from xfeedback.data import processes
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.sets.ts_benchmark import BOXES, LAYOUTS, Config, drawn, read, without_box
from xfeedback.errors import UserError

BENCHMARK = {"n_train": 60, "n_val": 10, "n_test": 20}


def raw(layout="Middle", process="Box", n=200, **options):
    return drawn(Config(layout=layout, process=process, **options), "train", n)


def corners(part):
    """First step, last step, first feature, last feature of each sample's box."""
    times, features = part.mask.any(2), part.mask.any(1)
    ends = [(line.argmax(1), 49 - line[:, ::-1].argmax(1)) for line in (times, features)]
    return np.stack([*ends[0], *ends[1]], 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_boxes_have_the_benchmarks_sizes_and_places(layout):
    part = raw(layout)
    steps, features, t0, f0 = BOXES[layout]
    assert part.mask.sum((1, 2)).tolist() == [steps * features] * 200
    found = corners(part)
    assert set(found[:, 1] - found[:, 0]) == {steps - 1}
    assert set(found[:, 3] - found[:, 2]) == {features - 1}
    for axis, fixed, side in ((0, t0, steps), (2, f0, features)):
        starts = found[:, axis]
        if layout == {0: "PostionalFeature", 2: "PostionalTime"}[axis]:
            assert set(zip(part.y.tolist(), starts.tolist(), strict=True)) == {(0, 29), (1, 1)}
        elif fixed is not None:
            assert set(starts) == {fixed}
        else:
            assert (starts.min(), starts.max()) == (0, 49 - side) or side == 40
            assert starts.max() <= 49 - side


@pytest.mark.parametrize("process", list(processes.PROCESSES))
def test_the_sign_of_the_box_is_the_class(process):
    part = raw(process=process, n=300)
    inside = np.array([x[m].mean() for x, m in zip(part.x, part.mask, strict=True)])
    outside = np.array([x[~m].mean() for x, m in zip(part.x, part.mask, strict=True)])
    assert inside[part.y == 1].mean() - inside[part.y == 0].mean() == pytest.approx(2.0, abs=0.1)
    assert outside[part.y == 1].mean() - outside[part.y == 0].mean() == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize(("layout", "axis"), [("PostionalTime", 2), ("PostionalFeature", 1)])
def test_positional_layouts_add_1_in_both_classes(layout, axis):
    part = raw(layout, n=300)
    for label in (0, 1):
        rows = part.y == label
        assert part.x[rows][part.mask[rows]].mean() == pytest.approx(1.0, abs=0.02)
        assert part.x[rows][~part.mask[rows]].mean() == pytest.approx(0.0, abs=0.02)
    profile = [part.x[part.y == label].mean((0, 3 - axis)) for label in (0, 1)]
    assert np.argmax(profile[1]) < 21 < 29 <= np.argmax(profile[0])


def test_times_are_half_of_even_ones_moved_a_little():
    rng = np.random.default_rng(0)
    times = np.array([processes.sampled_times(rng) for _ in range(400)])
    assert times.shape == (400, 50)
    assert (np.diff(times) >= 0).all()
    assert times.mean() == pytest.approx(10, abs=0.1)
    assert times.std() == pytest.approx(np.sqrt(400 / 12 * 101 / 99 + 0.04), abs=0.1)


def test_narma_has_the_librarys_numbers():
    found = processes.seeded_narma(42)(np.arange(50.0), 3, np.random.default_rng(0))
    start = [0.10289114, 0.47665753, 0.47150087, 0.28911974, 0.19737395, 0.16994097]
    np.testing.assert_allclose(found[:6, 0], start, atol=1e-5)
    assert found[:, 0].mean() == pytest.approx(0.25997, abs=1e-5)
    assert (found == found[:, :1]).all()
    own = processes.narma(np.arange(50.0), 3, np.random.default_rng(0))
    assert not np.allclose(own[:, 0], own[:, 1])


def test_gaussian_process_has_the_matern_covariance():
    times = np.sort(np.random.default_rng(1).uniform(0, 20, 12))
    expected = Matern(1.0, nu=1.5)(times[:, None])
    np.testing.assert_allclose(processes.matern(times), expected, atol=1e-10)
    values = processes.gaussian_process(times, 40_000, np.random.default_rng(2))
    np.testing.assert_allclose(np.cov(values), expected, atol=0.03)


def test_other_processes_follow_their_recursions():
    rng, times = np.random.default_rng(0), np.linspace(0, 20, 400)
    walk = processes.auto_regressive(times, 500, rng)
    assert walk[200:].std() == pytest.approx(1.14708, abs=0.03)
    assert np.corrcoef(walk[300], walk[301])[0, 1] == pytest.approx(0.9, abs=0.03)
    assert walk[0].std() == pytest.approx(0.5, abs=0.05)
    steps = processes.car(np.array([0.0, 2.0]), 50_000, rng)
    assert set(steps[0]) == {0.01}
    assert steps[1].mean() == pytest.approx(0.81 * 0.01, abs=1e-4)
    assert steps[1].std() == pytest.approx(0.01 * np.sqrt(1 - 0.81), rel=0.02)
    np.testing.assert_allclose(processes.harmonic(times, 2, rng)[:, 1], np.sin(4 * np.pi * times))
    wave = processes.pseudo_periodic(np.full(4, np.pi / 4), 50_000, rng)
    assert wave.mean() == pytest.approx(1.0, abs=0.01)
    assert wave.std() == pytest.approx(0.5, abs=0.01)


def test_scaling_sees_the_training_set_alone():
    found = read(Config(process="AutoRegressive", **BENCHMARK), None)
    bare = read(Config(process="AutoRegressive", scaling="none", **BENCHMARK), None)
    scaler = MinMaxScaler().fit(bare.train.x.reshape(60, -1))
    for part in ("train", "val", "test"):
        expected = scaler.transform(getattr(bare, part).x.reshape(-1, 2500)).reshape(-1, 50, 50)
        np.testing.assert_allclose(getattr(found, part).x, expected, atol=1e-5)
    assert (found.train.x.min(), found.train.x.max()) == (0.0, 1.0)
    assert found.test.x.min() < 0
    assert found.test.x.max() > 1
    assert found.val.index.tolist() == list(range(60, 70))


@pytest.mark.parametrize("process", ["Box", "Harmonic", "AutoRegressive"])
def test_one_more_series_is_drawn_without_a_box_and_scaled_alike(process):
    one, other = (without_box(Config(process=process, layout=layout)) for layout in ("Middle", "PostionalTime"))
    assert not np.allclose(one, other)
    assert np.array_equal(one, without_box(Config(process=process, n_train=7, n_test=9)))
    assert all(
        not np.allclose(one, drawn(Config(process=process), split, 1).x[0]) for split in ("train", "val", "test")
    )
    assert abs(one[10:40, 10:40].mean() - np.delete(one, range(10, 40), 0).mean()) < 0.3
    config = Config(process=process, **BENCHMARK)
    scaler = MinMaxScaler().fit(drawn(config, "train", 60).x.reshape(60, -1))
    expected = scaler.transform(without_box(config).reshape(1, -1)).reshape(50, 50)
    np.testing.assert_allclose(read(config, None).blank, expected, atol=1e-5)


def test_draws_depend_on_data_seed_layout_process_and_split_alone():
    one, same = raw(n=5).x, raw(n=5, n_train=7, n_test=9).x
    assert np.array_equal(one, same)
    others = [
        raw(n=5, data_seed=1),
        raw(process="CAR", n=5),
        raw("SmallMiddle", n=5),
        drawn(Config(process="Box"), "test", 5),
    ]
    assert all(not np.allclose(one, other.x) for other in others)


def test_a_task_of_series(tmp_path):
    def load(decoy="none", **options):
        config = Config(process="Box", **BENCHMARK, **options)
        return data.load(config, DecoyConfig(name=decoy), seed=0, root=tmp_path, cache=tmp_path)

    task = load()
    assert (task.name, task.kind, task.in_shape, task.n_classes) == ("Middle_Box", "series", (50, 50), 2)
    assert task.has_annotations
    assert task.blank is not None
    assert task.blank.shape == (50, 50)
    batch = next(iter(task.train_loader(7, "cpu", seed=0)))
    assert (tuple(batch.x.shape), str(batch.x.dtype)) == ((7, 50, 50), "torch.float32")
    assert batch.mask.sum((1, 2)).tolist() == [900] * 7
    assert batch.valid is None
    np.testing.assert_array_equal(batch.x.numpy(), task.train.x[batch.index].numpy())
    with pytest.raises(UserError, match=r"^decoy=corner is for images, and ts_benchmark holds series: leave it out.$"):
        load("corner")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_train": 1}, "n_train=1 must be 2 or more"), ({"n_val": -1}, "n_val=-1"), ({"data_seed": -1}, "data_seed=-1")],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)
