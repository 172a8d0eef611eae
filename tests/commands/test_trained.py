"""Runs leave well: what is exported is the run's network to the bit, and files go in as training's samples did."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx.reference
import pytest
import torch
from PIL import Image

from tests.cli.command import environment, run
from tests.cli.test_texts import texts
from tests.engine.small import small_spec
from xfeedback import commands, trained
from xfeedback.commands.export import to_onnx
from xfeedback.engine.run import load_task, run_experiment
from xfeedback.errors import UserError


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of images that are as large as the network's inputs, so that nothing is resized."""
    root = tmp_path_factory.mktemp("images") / "mine"
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog")):
        (root / "images" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 128, (24, 24, 3), dtype=np.uint8)
            pixels[..., label] += 100
            Image.fromarray(pixels).save(root / "images" / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def done(images, tmp_path_factory):
    dataset = {"name": "image_folder", "root": str(images), "size": 24, "limit_train": None, "limit_test": None}
    place = tmp_path_factory.mktemp("done")
    spec = small_spec(place, dataset=dataset, decoy={"name": "none"}, trainer={"channels_last": True})
    outcome = run_experiment(spec)
    assert outcome.status == "done", outcome.record
    return outcome.folder


@pytest.fixture(scope="module")
def exported(done, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "out"
    assert commands.run(["export", str(done), "--to", str(folder)]) == 0
    return folder


def test_exported_weights_give_the_same_logits_to_the_bit(done, exported):
    original, copy = trained.load(done), trained.load(exported)
    task = load_task(original.spec)
    batch = task.test_loaders(64, "cpu")["test"].batch(0, 0)
    with torch.no_grad():
        logits = [loaded.network(batch.x) for loaded in (original, copy)]
    assert torch.equal(*logits)
    accuracy = 100 * (logits[0].argmax(1) == batch.y).float().mean().item()
    assert accuracy == pytest.approx(original.result["metrics"]["acc/test"], abs=1e-4)


def test_files_go_in_as_the_samples_of_the_data_set_did(done, images):
    loaded = trained.load(done)
    task = load_task(loaded.spec)
    batch = task.test_loaders(64, "cpu")["test"].batch(0, 0)
    names = sorted(str(path) for path in images.rglob("*.png"))
    found = [sample.x for sample, _ in loaded.predict([names[row] for row in batch.index.tolist()])]
    assert torch.equal(torch.stack(found), batch.x)


def test_an_export_needs_neither_the_run_nor_the_data(exported, images, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(exported, alone)
    values = (alone / "config.yaml").read_text().replace(str(images), "/nowhere")
    (alone / "config.yaml").write_text(values)
    ((sample, shares),) = trained.load(alone).predict([str(images / "images" / "cat" / "0.png")])
    assert sample.x.shape == (3, 24, 24)
    assert shares.sum().item() == pytest.approx(1)


def test_the_card_says_what_a_person_must_know(exported, done):
    text = (exported / "README.md").read_text()
    record = json.loads((done / "result.json").read_text())
    for word in ("acc/test", record["run"], record["weights_sha256"], "seed 0", "load(", "cat, dog", "## Limits"):
        assert word in text
    for name, digits in (("acc/test", 2), ("calibration/brier", 3)):
        assert f"| {name} | {record['metrics'][name]:.{digits}f} |" in text
    commit = json.loads((done / "provenance.json").read_text())["git"]["commit"]
    assert str(commit) in text
    assert {file.name for file in exported.iterdir()} >= {"model.safetensors", "config.yaml", "inputs.json"}
    assert not [file for file in exported.parent.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize("samples", [1, 3])
def test_onnx_computes_what_the_network_does_for_any_number_of_samples(done, onnx_file, samples):
    loaded = trained.load(done)
    x = torch.randn(samples, *loaded.inputs.in_shape, generator=torch.Generator().manual_seed(0))
    (found,) = onnx.reference.ReferenceEvaluator(str(onnx_file)).run(["logits"], {"x": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), loaded.network(x), atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def onnx_file(done, tmp_path_factory):
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    assert to_onnx(trained.load(done), file) is None
    return file


def test_the_largest_value_over_time_has_a_form_in_onnx(done, tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.AdaptiveMaxPool1d(1), torch.nn.Flatten()).eval()
    loaded = replace(trained.load(done), network=network)
    assert to_onnx(loaded, tmp_path / "model.onnx") is None
    x = torch.randn(2, *loaded.inputs.in_shape, generator=torch.Generator().manual_seed(0))
    (found,) = onnx.reference.ReferenceEvaluator(str(tmp_path / "model.onnx")).run(["logits"], {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), x.flatten(2).amax(2))
    assert isinstance(network[1], torch.nn.AdaptiveMaxPool1d)


def test_without_its_packages_onnx_is_left_out_with_the_reason(done, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    why = to_onnx(trained.load(done), tmp_path / "model.onnx")
    assert why == "no package onnx and onnxscript (pip install onnx onnxscript, and export again)"
    assert not (tmp_path / "model.onnx").exists()


def test_a_network_that_has_no_form_in_onnx_leaves_nothing_behind(done, tmp_path):
    class Deciding(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    why = to_onnx(replace(trained.load(done), network=Deciding()), tmp_path / "model.onnx")
    assert why is not None
    assert why.startswith("this network can't be expressed in ONNX: ")
    assert not (tmp_path / "model.onnx").exists()


def test_predictions_as_table_csv_and_json(done, images, capsys):
    names = [str(images / "images" / kind / "0.png") for kind in ("cat", "dog")]
    outputs = []
    for form in ([], ["--csv"], ["--json"]):
        assert commands.run(["predict", str(done), *names, *form]) == 0
        outputs.append(capsys.readouterr().out)
    values = json.loads(outputs[2])
    assert [one["name"] for one in values] == names
    assert all(sum(one["probabilities"].values()) == pytest.approx(1) for one in values)
    for one, line, row in zip(values, outputs[0].splitlines()[1:], outputs[1].splitlines()[1:], strict=True):
        assert row == f"{one['name']},{one['said']},{one['confidence']:.6f}"
        assert f"{100 * one['confidence']:.1f} %" in line


@pytest.mark.parametrize("explainer", ["grad_cam", "integrated_gradients"])
def test_explain_writes_the_map_of_the_run_beside_the_image(done, images, tmp_path, capsys, explainer):
    """The picture is the run's own explanation: that of its evaluation, on the same sample."""
    from xfeedback.commands.explain import explanation
    from xfeedback.engine.evaluate import explanations
    from xfeedback.engine.options import EvaluationConfig
    from xfeedback.engine.shown import unit

    loaded = trained.load(done)
    task = load_task(loaded.spec)
    headline = task.test_loaders(64, "cpu")["test"]
    batch = headline.batch(0, 0)
    explained, _, _ = explanations(loaded.network, task, EvaluationConfig(explainers=(explainer,)), headline)
    path = sorted(images.rglob("*.png"))[int(batch.index[0])]
    shutil.copy(path, tmp_path / "a.png")
    ((sample, shares),) = loaded.predict([str(tmp_path / "a.png")])
    said = int(shares.argmax())
    _, found = explanation(loaded, sample, explainer, said)
    expected = unit(explained.maps([explainer], batch.x[:1], target=torch.tensor([said]))[0][explainer])[0]
    torch.testing.assert_close(found, expected)
    assert commands.run(["explain", str(done), str(tmp_path / "a.png"), "--explainer", explainer]) == 0
    assert f"says {loaded.inputs.class_names[said]}, " in capsys.readouterr().out
    with Image.open(tmp_path / "a.heat.png") as picture:
        assert picture.width > 2 * 256


MISTAKES = [
    (["explain", "{run}", "nowhere.png"], "nowhere.png: there is no such file"),
    (["explain", "{run}", "{png}", "--explainer", "grad_cma"], "Did you mean 'grad_cam'?"),
    (["explain", "{run}", "{png}", "--explainer", "lap_last"], "--explainer lap_last was left out: GapNet has no"),
    (["explain", "{run}", "{png}", "--class", "cta"], "unknown class 'cta'. Did you mean 'cat'?"),
    (["explain", "{run}", "{png}", "--to", "{png}"], "is the file that is explained"),
    (["explain", "{run}", "{png}", "--to", "a.jpg"], "--to a.jpg must be a .png file"),
    (["predict", "{run}", "{bad}"], "cannot read the image"),
    (["predict", "nowhere", "{png}"], "no run in nowhere."),
    (["predict", "{run}", "{png}", "--jsn"], "unrecognized arguments: --jsn. `xfeedback predict --help`"),
    (["export", "{run}", "--to", "{export}"], "is there already"),
    (["export", "{unfinished}"], "is not finished (the loss is not finite); the command that began it"),
    (["export", "{damaged}"], "is damaged: its weights are not those"),
    (["export", "{cut}"], "cannot read the weights"),
    (["export", "{none}"], "is no run: it has no config.yaml"),
    (["exprot", "{run}"], "unknown command 'exprot'. Did you mean 'export'?"),
]


@pytest.fixture
def broken(done, exported, images, tmp_path):
    """Paths of all that can be wrong."""
    places = {"run": done, "export": exported, "png": images / "images" / "cat" / "0.png", "none": tmp_path}
    for name in ("unfinished", "damaged", "cut"):
        shutil.copytree(done, tmp_path / name)
        places[name] = tmp_path / name
    (tmp_path / "unfinished" / "result.json").unlink()
    (tmp_path / "unfinished" / "error.json").write_text('{"error": "the loss is not finite"}')
    weights = torch.load(done / "weights.pt", weights_only=True)
    next(iter(weights.values())).view(-1)[0] += 1e-6
    torch.save(weights, tmp_path / "damaged" / "weights.pt")
    content = (done / "weights.pt").read_bytes()
    (tmp_path / "cut" / "weights.pt").write_bytes(content[:-100])
    (tmp_path / "bad.png").write_bytes(b"no picture")
    return places | {"bad": tmp_path / "bad.png"}


def test_mistakes_are_one_line(broken, tmp_path):
    for arguments, says in MISTAKES:
        typed = [word.format(**broken) for word in arguments]
        with pytest.raises(UserError) as caught:
            commands.run(typed)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("exported"))


def test_the_real_command_line(broken, tmp_path):
    ended = run("export", str(broken["unfinished"]), cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.line.startswith("error: the run ")
    shown = run("explain", "--help", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in shown.err.splitlines()}
    assert shown.code == 0
    assert "--explainer" in shown.out
    assert not imported & {"torch", "numpy", "pytorch_lightning", "xfeedback.engine"}
    for command in commands.NAMES:
        ended = run(command, "--help", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert ended.cpu_seconds < 1.5
    assert "XFEEDBACK_DATA" not in environment()


def test_texts_are_predicted_and_explained(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (train,) = [texts(tmp_path / "train.tsv").partition("=")[2]]
    dataset = {"name": "text_file", "train": train, "min_count": 1, "limit_train": None, "limit_test": None}
    spec = small_spec(tmp_path, dataset=dataset, model={"name": "text_cnn"}, decoy={"name": "none"})
    outcome = run_experiment(spec)
    assert outcome.status == "done", outcome.record
    loaded, task = trained.load(outcome.folder), load_task(spec)
    lines = (tmp_path / "train.tsv").read_text().splitlines()[1:]
    batch = task.test_loaders(64, "cpu")["test"].batch(0, 0)
    found = [sample.x for sample, _ in loaded.predict([lines[row].split("\t")[0] for row in batch.index.tolist()])]
    assert torch.equal(torch.stack(found), batch.x)
    (tmp_path / "two.txt").write_text("w1 fine\n\nw2 dull w3\n")
    assert commands.run(["predict", str(outcome.folder), "two.txt", "w4 fine", "--csv"]) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "w1 fine",
        "w2 dull w3",
        "w4 fine",
    ]
    assert commands.run(["explain", str(outcome.folder), "w1 fine w2"]) == 0
    assert "gradient of" in capsys.readouterr().out
    assert (tmp_path / "explanation.png").stat().st_size > 500
    review = "w1 fine w2 dull " * 20  # longer than the name of a file may be
    assert commands.run(["explain", str(outcome.folder), review, "--to", "explanation.png"]) == 0
    with pytest.raises(UserError, match=r"two\.txt holds 2, and one at a time is explained"):
        commands.run(["explain", str(outcome.folder), "two.txt"])


def test_a_network_that_a_method_rebuilt_and_a_run_from_before_inputs_were_kept(tmp_path):
    outcome = run_experiment(small_spec(tmp_path, method={"lap": {}}, trainer={"max_epochs": 1}))
    assert outcome.status == "done", outcome.record
    known = trained.load(outcome.folder).inputs
    (outcome.folder / "inputs.json").unlink()
    loaded = trained.load(outcome.folder)
    assert loaded.inputs == known
    batch = load_task(loaded.spec).test_loaders(64, "cpu")["random"].batch(0, 0)
    with torch.no_grad():
        accuracy = 100 * (loaded.network(batch.x).argmax(1) == batch.y).float().mean().item()
    assert accuracy == pytest.approx(outcome.record["metrics"]["acc/random"], abs=1e-4)
