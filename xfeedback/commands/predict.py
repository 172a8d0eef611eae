"""``xfeedback predict RUN files...``: the class of each file and how sure the network is."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from xfeedback.commands.parser import RUN, Parser

if TYPE_CHECKING:
    from xfeedback.trained import TrainedRun

ABOUT = """\
Predict the class of images, clips, series or texts with the network of a finished run, prepared as for training.

  xfeedback predict outputs/runs/NAME photos/*.jpg
  xfeedback predict outputs/runs/NAME photos/*.jpg --csv > predictions.csv
  xfeedback predict outputs/runs/NAME "A warm, funny film."        a run on texts; or a .txt file with one a line

Confidence is the network's probability of the class it says. The run's calibration error says how far to trust it.
"""


class Prediction(NamedTuple):
    """What the network says of one sample.

    Attributes:
        name: the file, or the text.
        said: the likeliest class.
        confidence: its probability.
        probabilities: of all classes by name.
    """

    name: str
    said: str
    confidence: float
    probabilities: dict[str, float]


def run(arguments: Sequence[str]) -> int:
    """Print the prediction of each sample."""
    parser = Parser("predict", description=ABOUT)
    parser.add_argument("run", help=RUN)
    parser.add_argument("files", nargs="+", help="images, .wav clips, files of series, or texts")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, with the probabilities of all classes")
    form.add_argument("--csv", action="store_true", help="print CSV")
    asked = parser.parse_args(arguments)

    from xfeedback import trained

    found = list(predictions(trained.load(asked.run), asked.files))
    if asked.json:
        sys.stdout.write(json.dumps([one._asdict() for one in found], indent=2) + "\n")
    else:
        sys.stdout.write(as_csv(found) if asked.csv else table(found))
    return 0


def predictions(run: "TrainedRun", given: Sequence[str]) -> Iterable[Prediction]:
    """Yield what a network says of files or texts.

    Raises:
        UserError: one of them can't be read, or does not fit the network.
    """
    names = run.inputs.class_names
    for sample, shares in run.predict(given):
        at = int(shares.argmax())
        yield Prediction(sample.name, names[at], float(shares[at]), dict(zip(names, shares.tolist(), strict=True)))


def as_csv(found: Iterable[Prediction]) -> str:
    """Return predictions as CSV with the columns name, class and confidence."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["name", "class", "confidence"])
    writer.writerows([one.name, one.said, f"{one.confidence:.6f}"] for one in found)
    return buffer.getvalue()


def table(found: Sequence[Prediction], widest: int = 60) -> str:
    """Return predictions as lines with aligned columns, long names cut at their beginning.

    >>> print(table([Prediction("a.png", "cat", 0.5, {}), Prediction("bb.png", "ox", 1.0, {})]), end="")
    name    class  confidence
    a.png   cat        50.0 %
    bb.png  ox        100.0 %
    """
    names = [one.name if len(one.name) <= widest else "..." + one.name[3 - widest :] for one in found]
    left = max(len("name"), *(len(name) for name in names))
    middle = max(len("class"), *(len(one.said) for one in found))
    lines = [f"{'name':{left}}  {'class':{middle}}  confidence"]
    for name, one in zip(names, found, strict=True):
        lines.append(f"{name:{left}}  {one.said:{middle}}  {100 * one.confidence:8.1f} %")
    return "\n".join(lines) + "\n"
