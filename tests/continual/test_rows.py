import numpy as np
import pytest
import torch

from xfeedback.continual.arrange import arrange, set_aside
from xfeedback.continual.options import PhasesConfig
from xfeedback.continual.rows import class_chunks, join, portions, slices, take
from xfeedback.data.source import Part, Source
from xfeedback.data.task import Split
from xfeedback.errors import UserError


def config(name="mistakes", **options):
    return PhasesConfig(name=name, **options)


def test_slices_of_the_official_validation_list():
    equal = slices(9981, config(n=16))
    assert [len(rows) for rows in equal] == [623] * 16
    assert np.concatenate(equal).tolist() == list(range(9968))
    assert [len(rows) for rows in slices(9981, config(n=6))] == [1663] * 6
    cut = slices(9981, config(n=6, split="cut165"))
    assert [len(rows) for rows in cut] == [1646, 1647, 1647, 1647, 1647, 1747]
    assert np.concatenate(cut).tolist() == list(range(9981))


def test_shuffled_slices_hold_the_same_rows_in_an_order_of_their_own_seed():
    one, other = (slices(100, config(n=4, order="shuffled", order_seed=seed)) for seed in (0, 1))
    assert sorted(np.concatenate(one).tolist()) == list(range(100))
    assert one[0].tolist() != other[0].tolist()
    assert one[0].tolist() == slices(100, config(n=4, order="shuffled"))[0].tolist()


def test_portions_are_stratified_disjoint_and_complete():
    y = np.repeat([0, 1, 2], [30, 60, 10])
    found = portions(y, config("portions", n=5, base=0.5))
    assert [len(rows) for rows in found] == [50, 10, 10, 10, 10, 10]
    assert sorted(np.concatenate(found).tolist()) == list(range(100))
    for rows in found:
        counts = np.bincount(y[rows], minlength=3)
        assert (np.abs(counts - len(rows) * np.array([0.3, 0.6, 0.1])) < 1).all()


def test_classes_are_cut_into_chunks():
    assert class_chunks(10, config("classes")) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    shuffled = class_chunks(10, config("classes", order="shuffled", order_seed=3))
    assert sorted(label for chunk in shuffled for label in chunk) == list(range(10))
    assert shuffled != class_chunks(10, config("classes"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: slices(5, config(n=6)),
        lambda: class_chunks(3, config("classes", n=4)),
        lambda: portions(np.zeros(6, dtype=int), config("portions", n=9)),
    ],
)
def test_too_many_phases_are_refused(make):
    with pytest.raises(UserError, match=r"phases\.n="):
        make()


def split(n, start=0, **more):
    index = torch.arange(start, start + n)
    return Split(x=index[:, None].float(), y=index % 3, index=index, **more)


def test_rows_are_taken_with_all_that_belongs_to_them():
    whole = split(6, mask=torch.eye(6)[:, :, None] > 0, shown={"random": torch.arange(6)})
    part = take(whole, torch.tensor([4, 1]))
    assert part.index.tolist() == [4, 1]
    assert part.shown["random"].tolist() == [4, 1]
    assert part.mask[0, 4]
    assert part.wrong is None


def test_joined_samples_have_the_views_that_both_have():
    one = split(3, shown={"correlated": torch.arange(3)})
    two = split(2, start=10, shown={"random": torch.zeros(2), "correlated": torch.tensor([7, 8])})
    both = join(one, two)
    assert both.index.tolist() == [0, 1, 2, 3 + 10, 3 + 11]
    assert both.y.tolist() == [0, 1, 2, 1, 2]
    assert {view: shown.tolist() for view, shown in both.shown.items()} == {"correlated": [0, 1, 2, 7, 8]}
    with pytest.raises(UserError, match="differ in 'told'"):
        join(split(2, told=torch.zeros(2, 1, 1)), split(2))


def part(n, **more):
    return Part(x=np.zeros((n, 1, 2, 2)), y=np.arange(n) % 4, index=np.arange(n), **more)


def source(val=None):
    return Source(train=part(100), val=val, test=part(8), class_names=("a", "b", "c", "d"), fingerprint="")


def test_nothing_is_set_aside_in_ordinary_training():
    given = source(part(4))
    assert arrange(PhasesConfig(), given) == given


def test_the_pool_is_the_validation_set_and_what_is_held_out_takes_its_place():
    found = arrange(config(n=2, holdout=0.1), source(part(12)))
    assert (len(found.train.y), len(found.pool.y), len(found.val.y), found.stamps) == (90, 12, 10, ("holdout=0.1",))
    assert np.bincount(found.val.y).tolist() in ([3, 2, 2, 3], [2, 3, 2, 3], [3, 3, 2, 2], [2, 2, 3, 3])
    own = arrange(config(n=2, pool=0.2), source())
    assert (len(own.train.y), len(own.pool.y), own.val, own.stamps) == (80, 20, None, ("pool=0.2",))
    assert not set(own.train.index) & set(own.pool.index)


def test_speakers_stay_whole():
    speakers = np.arange(100) % 7
    stays, aside = set_aside(part(100, group=speakers), 0.2)
    assert not set(stays.group) & set(aside.group)
    assert 20 <= len(aside.y) <= 34
    assert len(stays.y) + len(aside.y) == 100


def test_sets_that_can_not_be_arranged_are_refused():
    with pytest.raises(UserError, match=r"no validation set to slice. Set one aside: phases.pool=0\.2"):
        arrange(config(), source())
    with pytest.raises(UserError, match=r"phases.holdout=0.1: these data have their own validation set. Use 0."):
        arrange(config("classes", holdout=0.1), source(part(4)))
    with pytest.raises(UserError, match="leaves nothing"):
        set_aside(part(3), 0.1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n": 0}, "n=0 must be 1 or more"),
        ({"outputs": "per_phase"}, "outputs=per_phase must be for classes only, and not for single"),
        ({"replay": "all"}, "replay=all must be left as it is for single; it is for classes and portions"),
        ({"name": "mistakes", "split": "cut165"}, "n=5 must be 6 for split=cut165"),
        ({"name": "portions", "pool": 0.2}, "pool=0.2 must be left as it is for portions; it is for mistakes"),
        ({"base": 1.0}, "base=1.0 must be between 0 and 1"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        PhasesConfig(**options)
