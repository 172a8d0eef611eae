"""Labels of rows that differ in many options: what each departs in from most of the others."""

from xfeedback.report.cells import flatten, labels

BASE = {"variant": "clean", "method.m.variant": "clean", "method.m.mask": "low", "a": "1", "b": "1", "c": "1"}


def test_few_options_are_all_shown():
    assert labels("m", {"x": BASE, "y": {**BASE, "a": "2"}}) == {"x": "m (a=1)", "y": "m (a=2)"}


def test_of_many_options_only_departures_are_shown_and_variants_once():
    paper = {**BASE, "variant": "paper", "method.m.variant": "paper", "a": "2"}
    cells = {"x": BASE, "y": {**BASE, "method.m.mask": "random"}, "z": {**BASE, "b": "2"}, "p": paper}
    found = labels("m", {**cells, "q": {**BASE, "c": "9"}})
    assert found == {
        "x": "m",
        "y": "m (mask=random)",
        "z": "m (b=2)",
        "p": "m (variant=paper, a=2)",
        "q": "m (c=9)",
    }


def test_what_is_no_part_of_a_cell_is_in_no_label():
    trainer = {"max_epochs": 2, "threads": 1, "validate_every_n_epochs": 5}
    config = {"seed": 1, "trainer": trainer, "paths": {"root": "."}}
    assert flatten(config) == {"trainer.max_epochs": "2"}
