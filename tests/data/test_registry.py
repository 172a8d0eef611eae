import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from xfeedback.config import from_mapping
from xfeedback.data import config_class, load, names
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.options import DatasetConfig
from xfeedback.errors import UserError

CONF = Path(__file__).parents[2] / "conf"


def plain(value):
    """Tuples as lists, all the way down."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def test_names_are_the_files():
    assert {"cifar", "digits", "fashion_mnist", "mnist"} <= set(names())


def test_unknown_name():
    with pytest.raises(UserError, match=r"unknown dataset 'cifra'\. Did you mean 'cifar'\?"):
        config_class("cifra")


def test_every_set_has_a_yaml_with_the_defaults_of_its_dataclass():
    for name in names():
        values = yaml.safe_load((CONF / "dataset" / f"{name}.yaml").read_text())["dataset"]
        assert values["name"] == name
        default = config_class(name)()
        assert from_mapping(config_class(name), values, "dataset") == default
        derived = {"label": values["label"]}  # of a set that is named for its options where it has no label
        assert plain(asdict(default)) | derived == values


@pytest.mark.parametrize("name", ["auto", "none", "corner"])
def test_decoy_yaml(name):
    values = yaml.safe_load((CONF / "decoy" / "auto.yaml").read_text())
    values |= yaml.safe_load((CONF / "decoy" / f"{name}.yaml").read_text())
    values.pop("defaults", None)
    assert values == asdict(DecoyConfig(name=name))
    assert DecoyConfig(name=name).on == (name == "corner")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit_train": 0}, "dataset.limit_train=0 must be a positive integer"),
        ({"label": "a/b"}, "dataset.label=a/b must be a name of at most 100 characters without a slash"),
        ({"label": " "}, "dataset.label=  must be a name"),
        ({"label": 101 * "a"}, "must be a name of at most 100 characters"),
        ({"gian": 1.0}, "unknown option 'dataset.gian'. Did you mean 'gain'?"),
        ({"gain": 2.0}, "dataset.gain=2.0 must be above 0"),
        ({"annotation": {"object_mask": "centre"}}, "dataset.annotation.object_mask=centre must be one of"),
        ({"annotation": {"center_box": -1}}, "dataset.annotation.center_box=-1"),
        ({"name": "mnist"}, "dataset.name=mnist must be one of digits"),
    ],
)
def test_wrong_options_are_named_as_typed(values, message):
    with pytest.raises(UserError) as caught:
        from_mapping(config_class("digits"), values, "dataset")
    assert message in str(caught.value)


def test_decoys_that_do_not_fit_the_images(tmp_path):
    digits: DatasetConfig = config_class("digits")()
    for options, message in (({"size": 17}, "decoy.size=17"), ({"code": "hue"}, "decoy.code=hue")):
        with pytest.raises(UserError, match=message):
            load(digits, DecoyConfig(name="corner", **options), seed=0, root=tmp_path, cache=tmp_path)


def test_options_import_no_torch():
    code = "import sys; from xfeedback.data import config_class, names; [config_class(n) for n in names()]"
    code += "; assert not {'torch', 'torchvision', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
