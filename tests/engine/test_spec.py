import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from tests.engine.small import plain_values, small_spec
from xfeedback import models
from xfeedback.builder import plain_config
from xfeedback.engine.folder import RunFolder
from xfeedback.engine.options import NOT_IDENTITY
from xfeedback.engine.spec import RunSpec, light_parts
from xfeedback.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
OUTSIDE = {("logger",), ("paths",), *(("trainer", name) for name in NOT_IDENTITY)}


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides: str) -> RunSpec:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return RunSpec.from_plain(plain_config(compose("config", overrides=list(overrides))))


def leaves(values, path=()):
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, values


def changed(values, path, new):
    copy = json.loads(json.dumps(values))
    *parents, last = path
    place = copy
    for key in parents:
        place = place[key]
    place[last] = new
    return copy


@pytest.mark.parametrize(("dataset", "method"), list(product(["digits", "cifar", "mnist"], choices("method"))))
def test_every_option_but_the_listed_ones_is_in_the_name(dataset, method, monkeypatch):
    spec = composed(f"dataset={dataset}", f"method={method}")
    values, name = spec.plain(), spec.run
    seen = 0
    for path, value in leaves(values):
        new = changed(values, path, "changed" if value != "changed" else "again")
        with monkeypatch.context() as patched:
            patched.setattr(RunSpec, "plain", lambda _, new=new: new)
            same = replace(spec).run == name
        outside = path[:1] in OUTSIDE or path in OUTSIDE
        assert same is outside, ".".join(path)
        seen += 1
    assert seen > 40


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"paths": {"data": "elsewhere"}}, True),
        ({"logger": {"name": "csv"}}, True),
        ({"trainer": {"threads": 2, "progress": True, "accelerator": "cpu"}}, True),
        ({"trainer": {"devices": 2, "strategy": "ddp"}}, True),
        ({"force": True}, True),
        ({"seed": 1}, False),
        ({"variant": "paper"}, False),
        ({"trainer": {"max_epochs": 3}}, False),
        ({"trainer": {"precision": "bf16-mixed"}}, False),
        ({"decoy": {"p": 0.9}}, False),
        ({"optimiser": {"lr": 0.002}}, False),
        ({"model": {"name": "gapnet", "width": 3}}, False),
        ({"method": {"plain": {"warmup_epochs": 1}}}, False),
        ({"method": {"xbl": {}}}, False),
        ({"evaluation": {"explained": 10}}, False),
        ({"dataset": {"limit_train": 50}}, False),
        ({"trainer": {"compile": False}}, True),
        ({"trainer": {"compile": True}}, False),
        ({"method": {"plain": {"every_n_steps": 1}}}, True),
        ({"method": {"plain": {"every_n_steps": 2}}}, False),
    ],
)
def test_the_run_name_changes_with_what_decides_the_result(changes, same, tmp_path):
    assert (small_spec(tmp_path, **changes).run == small_spec(tmp_path).run) is same


def test_runs_that_differ_in_the_seed_share_their_cell(tmp_path):
    first, second = small_spec(tmp_path), small_spec(tmp_path, seed=7)
    assert first.cell == second.cell
    assert first.run != second.run
    assert small_spec(tmp_path, variant="paper").cell != first.cell


PAIRS = [(dataset, "plain") for dataset in choices("dataset")]
PAIRS += [("decoy_digits", method) for method in (*choices("method"), "[xbl,saliency_guided]")]
FITTING = {"image": "decoy_digits", "series": "ts_benchmark", "text": "sst2"}


@pytest.mark.parametrize(("dataset", "method"), PAIRS)
def test_what_is_written_reads_back_to_the_same_run(dataset, method, tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    root = [f"dataset.root={tmp_path}"] if dataset == "image_folder" else []
    options = (f"dataset={dataset}", f"method={method}", "logger=csv", "seed=3", f"paths.outputs={tmp_path}/outputs")
    spec = composed(*options, *root)
    RunFolder(spec).begin({})
    again = RunSpec.from_plain(yaml.safe_load((spec.folder / "config.yaml").read_text()))
    assert again.plain() == spec.plain()
    assert (again.run, again.cell, again.methods, again.decoy) == (spec.run, spec.cell, spec.methods, spec.decoy)


@pytest.mark.parametrize("model", choices("model"))
def test_every_model_of_the_command_line_gives_a_spec(model):
    kind = models.config_class(model).takes[0]
    assert composed(f"model={model}", f"dataset={FITTING[kind]}").model.name == model


def test_the_name_is_readable(tmp_path):
    spec = small_spec(tmp_path, method={"xbl": {}, "saliency_guided": {}}, seed=4)
    assert spec.run.startswith("decoy_digits-gapnet-xbl+saliency_guided-s4-")
    assert spec.folder == tmp_path / "runs" / spec.run


def test_decoys_are_on_only_where_a_method_needs_annotations(tmp_path):
    auto = {"decoy": {"name": "auto"}}
    plain, xbl = small_spec(tmp_path, **auto), small_spec(tmp_path, **auto, method={"xbl": {}})
    assert (plain.decoy.name, plain.label, plain.notices) == ("none", "digits", ())
    assert (xbl.decoy.name, xbl.label) == ("corner", "decoy_digits")
    assert "xbl needs annotations and digits has none" in xbl.notices[0]
    boxed = small_spec(tmp_path, **auto, method={"xbl": {}}, dataset={"annotation": {"object_mask": "center"}})
    assert (boxed.decoy.name, boxed.notices) == ("none", ())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": -1}, "seed=-1 must be an integer, 0 or more"),
        ({"seed": True}, "seed=True must be an integer"),
        ({"variant": "papr"}, "variant=papr must be clean or paper"),
        ({"force": 1}, "force=1 must be true or false"),
        ({"trainr": {}}, "unknown option 'trainr'. Did you mean 'trainer'?"),
        ({"dataset": {"name": "digitz"}}, "unknown dataset 'digitz'. Did you mean 'digits'?"),
        ({"model": {"name": "gapnett"}}, "unknown model 'gapnett'. Did you mean 'gapnet'?"),
        ({"model": {}}, "option 'model.name' has no value"),
        ({"method": {"xlb": {}}}, "unknown method 'xlb'. Did you mean 'xbl'?"),
        ({"method": {"xbl": {"cexp": 1}}}, "unknown option 'method.xbl.cexp'. Did you mean 'c_exp'?"),
        ({"trainer": {"devices": 2}}, "trainer.devices=2 must be 1 unless trainer=ddp"),
        ({"method": {"xbl": {}}, "decoy": {"name": "none"}}, "method=xbl needs annotations"),
    ],
)
def test_what_can_not_work_is_refused(changes, says, tmp_path):
    with pytest.raises(UserError) as caught:
        small_spec(tmp_path, **changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_leading_tilde_is_the_users_folder_and_no_part_of_the_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    typed = {"outputs": "~/x", "data": "~", "cache": "~/x/cache", "shared_data": ["~/y", "z~"]}
    spec, other = small_spec(tmp_path, paths=typed), small_spec(tmp_path)
    assert spec.folder == tmp_path / "x" / "runs" / other.run
    paths = spec.paths
    assert (paths.data, paths.cache) == (str(tmp_path), f"{tmp_path}/x/cache")
    assert paths.shared_data == (f"{tmp_path}/y", "z~")
    assert spec.run == other.run
    assert RunSpec.from_plain(spec.plain()) == spec
    with pytest.raises(UserError, match=r"paths\.outputs=~nobody-here/x must be a folder: there is no such user"):
        small_spec(tmp_path, paths={"outputs": "~nobody-here/x"})


def test_a_leading_tilde_is_the_users_folder_in_any_option(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    roots = ("~/x", f"{tmp_path}/x")
    typed, meant = (
        small_spec(tmp_path, dataset={"name": "image_folder", "root": root}, decoy={"name": "none"}) for root in roots
    )
    assert typed.dataset.root == f"{tmp_path}/x"
    assert typed.run == meant.run


def test_light_parts_need_neither_data_set_nor_network(tmp_path):
    values = plain_values(tmp_path, model={"name": "no such"}, dataset={"name": "no such"})
    assert light_parts(values)["trainer"].max_epochs == 2
