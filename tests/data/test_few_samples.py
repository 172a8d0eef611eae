"""A few samples of each class: exactly so many, nested, the same for every method, away from validation and test."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xfeedback import data
from xfeedback.config import from_mapping
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.task import Task
from xfeedback.errors import UserError

NOWHERE = Path("no-data-is-read")


def task(seed: int = 0, decoy: str = "none", **options: Any) -> Task:
    config = data.config_class("digits")(name="digits", **options)
    return data.load(config, DecoyConfig(name=decoy), seed=seed, root=NOWHERE, cache=NOWHERE)


def rows(found: Task) -> set[int]:
    return set(found.train.index.tolist())


def test_exactly_so_many_of_each_class_nested_and_stamped():
    few, more = task(samples_per_class=10), task(samples_per_class=20)
    assert np.bincount(few.train.y.numpy()).tolist() == [10] * 10
    assert np.bincount(more.train.y.numpy()).tolist() == [20] * 10
    assert rows(few) < rows(more)
    assert "samples_per_class=10" in few.stamps


def test_the_seed_alone_decides_which():
    assert rows(task(samples_per_class=10)) == rows(task(samples_per_class=10, decoy="corner"))
    assert rows(task(samples_per_class=10)) != rows(task(seed=1, samples_per_class=10))


def test_validation_and_test_stay_whole():
    whole, few = task(), task(samples_per_class=10)
    assert len(few.test) == len(whole.test)
    if whole.val is not None and few.val is not None:
        assert few.val.index.tolist() == whole.val.index.tolist()
        assert not rows(few) & set(few.val.index.tolist())
    assert rows(few) < rows(whole)


def test_limits_come_first():
    assert rows(task(samples_per_class=3, limit_train=60)) < rows(task(limit_train=60))


def test_a_class_with_fewer_is_refused_by_name():
    smallest = int(np.bincount(task().train.y.numpy()).min())
    with pytest.raises(
        UserError, match=rf"samples_per_class=5000: class '.*' of digits has {smallest} training samples\."
    ):
        task(samples_per_class=5000)
    assert len(task(samples_per_class=smallest).train) == 10 * smallest


def test_impossible_numbers_are_refused():
    with pytest.raises(UserError, match=r"dataset.samples_per_class=0 must be a positive integer"):
        from_mapping(data.config_class("digits"), {"name": "digits", "samples_per_class": 0}, "dataset")
    assert replace(data.config_class("digits")(name="digits"), samples_per_class=1).samples_per_class == 1
