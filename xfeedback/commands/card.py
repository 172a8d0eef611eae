"""The model card of an export: figures, data, method, limits and origin of one run, and how to use it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from xfeedback.kinds import WORDS
from xfeedback.report.labels import VALIDATION
from xfeedback.report.metrics import describe

if TYPE_CHECKING:
    from xfeedback.trained import TrainedRun

GIVEN = {
    "image": "A picture in any format that Pillow reads.",
    "series": "A series as .csv, .tsv (UCR), .ts (UEA) or .npy file.",
    "text": "A text, or a .txt file with one a line.",
}

COLLAPSED = 90.0
"""Share of the test set in percent above which a class that is said of it is named as a limit."""


def text(loaded: "TrainedRun", without_onnx: str | None) -> str:
    """Return the card as Markdown.

    Args:
        loaded: the run.
        without_onnx: why there is no ONNX file, or None.
    """
    result, spec = loaded.result, loaded.spec
    title = f"{spec.title} on {spec.label}, {spec.model.name}, seed {spec.seed}"
    parts = [
        _front(loaded),
        f"# {title}\n",
        f"A classifier of {WORDS[loaded.inputs.kind]} in {len(loaded.inputs.class_names)} classes, trained with "
        "xfeedback. This card was written from the run's own files; nothing in it was typed by hand.\n",
        "## Use\n",
        _use(loaded, without_onnx),
        "## Intended use\n",
        "To look at what this method of training does to a network and its explanations, on data like those it was "
        "trained on. Not for decisions about people, nor where a mistake does harm, without an evaluation of your "
        "own.\n",
        "## Figures\n",
        f"On {_measured_on(loaded)}, by the selected weights; shares in percent (docs/data.md, section Metrics).\n",
        _table(("figure", "value"), sorted((name, _figure(name, value)) for name, value in result["metrics"].items())),
        "## Data\n",
        _table(("what", "value"), _data(loaded)),
        "## Method\n",
        "```yaml\n" + yaml.safe_dump(_method(loaded), sort_keys=False, allow_unicode=True) + "```\n",
        "## Limits\n",
        "\n".join(f"- {line}" for line in limits(loaded)) + "\n",
        "## Origin\n",
        _table(("what", "value"), _origin(loaded)),
    ]
    return "\n".join(parts)


def limits(loaded: "TrainedRun") -> Iterator[str]:
    """Yield what a person must know before trusting the network, a sentence each."""
    result, decoy = loaded.result, loaded.spec.decoy
    metrics = {name.removeprefix(VALIDATION): value for name, value in result["metrics"].items()}
    yield "One seed. How much another seed changes is in a comparison of several, not here."
    yield f"It always says one of its {len(loaded.inputs.class_names)} classes, whatever it is shown."
    if result.get("stamps"):
        yield f"Stamped: {'; '.join(result['stamps'])}."
    if decoy.on:
        trained = "Tested" if decoy.train == "clean" else "Trained"
        kind = "coloured" if decoy.code == "released" else "class-coded"
        yield f"{trained} on images with {kind} patches: its figures are about this shortcut, not about the data set."
    if result.get("select_on") == "last":
        yield "The weights of the last epoch: no validation set chose them."
    if "acc/worst_group" in metrics:
        yield f"Accuracy is {_number(metrics['acc/worst_group'])} % in the group where it is worst."
    if metrics.get("predicted/largest_share", 0.0) > COLLAPSED:
        yield f"It says the same class of {_number(metrics['predicted/largest_share'])} % of {_measured_on(loaded)}."
    if "calibration/ece" in metrics:
        yield f"Confidence misses accuracy by {_number(metrics['calibration/ece'])} points (calibration/ece)."
    yield from result.get("notes", ())


def _measured_on(loaded: "TrainedRun") -> str:
    return "the validation data" if loaded.spec.evaluation.split == "validation" else "the test set"


def _front(loaded: "TrainedRun") -> str:
    """The head that model hubs read."""
    head = {"library_name": "xfeedback", "tags": ["explanation-feedback", *loaded.spec.methods, loaded.inputs.kind]}
    return "---\n" + yaml.safe_dump(head, sort_keys=False) + "---\n"


def _use(loaded: "TrainedRun", without_onnx: str | None) -> str:
    shape = ", ".join(map(str, loaded.inputs.in_shape))
    example = '"A text."' if loaded.inputs.kind == "text" else "FILE"
    onnx = (
        f"There is no model.onnx: {without_onnx}."
        if without_onnx
        else "model.onnx takes `x` (float32, or int64 ids of texts; prepared and normalised so) and gives `logits`."
    )
    return f"""\
{GIVEN[loaded.inputs.kind]} It is prepared as for training.

```
xfeedback predict FOLDER {example}
xfeedback explain FOLDER {example} --to heat.png
```

```python
from xfeedback.trained import load

run = load("FOLDER")  # run.network maps inputs (B, {shape}) to logits
for sample, probabilities in run.predict([{example if example != "FILE" else '"FILE"'}]):
    print(sample.name, run.inputs.class_names[int(probabilities.argmax())])
```

{onnx}
"""


def _data(loaded: "TrainedRun") -> Iterator[tuple[str, str]]:
    inputs, provenance = loaded.inputs, loaded.provenance.get("data", {})
    names = inputs.class_names
    yield "data set", loaded.spec.label
    yield "input", f"{inputs.kind}, {'x'.join(map(str, inputs.in_shape))}"
    yield "classes", ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    if inputs.mean and len(inputs.mean) <= 8:
        yield "mean, sd", f"{list(inputs.mean)}, {list(inputs.std)}"
    yield "fingerprint", str(provenance.get("fingerprint"))


def _method(loaded: "TrainedRun") -> dict[str, Any]:
    values = loaded.spec.plain()
    kept = ("method", "continual", "phases", "model", "optimiser", "dataset")
    trainer = {key: values["trainer"][key] for key in ("max_epochs", "batch_size", "precision")}
    return {key: values[key] for key in kept if key in values} | {"trainer": trainer}


def _origin(loaded: "TrainedRun") -> Iterator[tuple[str, str]]:
    result, provenance = loaded.result, loaded.provenance
    git: Mapping[str, Any] = provenance.get("git", {})
    commit = str(git.get("commit"))
    yield "run", str(result["run"])
    yield "seed", str(loaded.spec.seed)
    yield "commit", f"{commit} with changes that are in no commit" if git.get("dirty") else commit
    yield "versions", ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
    yield "weights, SHA-256", str(result["weights_sha256"])
    epochs, steps, selected, finished = (
        result.get(name, "unknown") for name in ("epochs", "steps", "selected_epoch", "finished_at")
    )
    yield "epochs, steps", f"{epochs}, {steps}; selected epoch {selected}"
    yield "finished", str(finished)


def _table(head: tuple[str, str], rows: Any) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    lines += [f"| {name} | {str(value).replace('|', '/')} |" for name, value in rows]
    return "\n".join(lines) + "\n"


def _figure(name: str, value: Any) -> str:
    """A metric with two decimals, or as many as in a report where these are more."""
    return f"{value:.{max(2, describe(name).digits)}f}" if isinstance(value, float) else str(value)


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
