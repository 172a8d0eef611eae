"""``xfeedback explain RUN image.png``: where the network looks, beside what it was shown."""

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from xfeedback.commands.parser import RUN, Parser
from xfeedback.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from xfeedback.data.entered import Sample
    from xfeedback.explain.scored import Explained
    from xfeedback.trained import TrainedRun

ABOUT = """\
Write a picture of one image, clip, series or text with the network's explanation of it, and say what it predicts.

  xfeedback explain outputs/runs/NAME photo.jpg                              writes photo.heat.png beside it
  xfeedback explain outputs/runs/NAME photo.jpg --explainer occlusion --to heat.png
  xfeedback explain outputs/runs/NAME "A warm, funny film." --to film.png    a run on texts

Explainers: those of evaluation.explainers, e.g. grad_cam, layer_cam, gradient, integrated_gradients, occlusion, lime.
"""
FROM_DATA = ("integrated_gradients", "deeplift", "deeplift_functional", "gradient_shap", "deep_shap")
"""Explainers that start from training inputs; for texts from zero embeddings."""


def run(arguments: Sequence[str]) -> int:
    """Write the picture and print the prediction."""
    parser = Parser("explain", description=ABOUT)
    parser.add_argument("run", help=RUN)
    parser.add_argument("file", help="an image, a .wav clip, a file with one series, or a text")
    parser.add_argument("--explainer", help="which explanation; default: the first that the run was scored by")
    parser.add_argument("--class", dest="target", help="the class to explain; default: the predicted one")
    parser.add_argument("--to", type=Path, help="the .png file to write; default: FILE.heat.png beside the file")
    asked = parser.parse_args(arguments)
    place = _place(asked.file, asked.to)

    from xfeedback import files, trained
    from xfeedback.commands import picture

    loaded = trained.load(asked.run)
    ((sample, shares),) = _single(asked.file, loaded)
    names = loaded.inputs.class_names
    said = int(shares.argmax())
    target = said if asked.target is None else _number(asked.target, names)
    name, heat = explanation(loaded, sample, asked.explainer, target)
    headline = f"says {names[said]}, {100 * float(shares[said]):.1f} %"
    about = f"{name} of {names[target]}"
    buffer = io.BytesIO()
    picture.drawn(loaded, sample, heat, headline=headline, about=about).save(buffer, "PNG")
    try:
        files.write_bytes(place, buffer.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {place}: {error.strerror}. Choose another file with --to.") from error
    sys.stdout.write(f"{sample.name}: {headline}; {about} in {place}\n")
    return 0


def explanation(loaded: "TrainedRun", sample: "Sample", explainer: str | None, target: int) -> "tuple[str, Tensor]":
    """Explain one class of a sample as the run's evaluation does.

    Args:
        loaded: the network.
        sample: what is explained.
        explainer: its name; None: the first of the run's that works here.
        target: the class.

    Returns:
        The explainer's name, and its map in [0, 1]: ``(H, W)``, ``(T, F)`` or ``(L,)``.

    Raises:
        UserError: there is no such explainer, or it does not work on this network.
    """
    import torch

    from xfeedback.engine.options import Explainer
    from xfeedback.engine.shown import unit
    from xfeedback.models.running import mode

    choices = get_args(Explainer)
    if explainer is not None and explainer not in choices:
        raise unknown("explainer", explainer, choices)
    wanted = (explainer,) if explainer else (*loaded.spec.evaluation.explainers, "gradient")
    with mode(loaded.network, training=False):
        x = sample.x[None]
        explained = _bare(loaded)
        usable, notes = explained.usable(wanted, x)
        if not usable:
            raise UserError(f"--explainer {notes[0]}")
        name = usable[0]
        found, _ = _started(loaded, explained, name).maps([name], x, target=torch.tensor([target]))
    valid = None if sample.valid is None else sample.valid[None]
    return name, unit(found[name], valid)[0]


def _bare(loaded: "TrainedRun") -> "Explained":
    """What can be explained without any training input."""
    import torch

    from xfeedback.explain.scored import Explained
    from xfeedback.models.layers import explained_layer

    kind, layer = loaded.inputs.kind, None
    if kind == "image":
        with suppress(UserError):  # explainers that need a layer then say that there is none
            layer = explained_layer(loaded.network, torch.zeros(1, *loaded.inputs.in_shape))
    options = loaded.spec.evaluation
    return Explained(
        network=loaded.network, layer=layer, baseline=torch.zeros(()), kind=kind, channels=options.channels
    )


def _started(loaded: "TrainedRun", explained: "Explained", name: str) -> "Explained":
    """Give an explainer that starts from training inputs what it starts from, as the run's evaluation did."""
    import torch

    from xfeedback.engine.evaluate import baseline
    from xfeedback.engine.faithfulness import arranged
    from xfeedback.engine.run import load_task

    if name not in FROM_DATA:
        return explained
    if explained.kind == "text":
        return replace(explained, background=torch.zeros(1, 1, 1))
    task = load_task(loaded.spec)
    asked = replace(loaded.spec.evaluation, explainers=(name,), faithfulness=())
    return arranged(replace(explained, baseline=baseline(task)), task, asked)


def _place(file: str, to: Path | None) -> Path:
    """Where the picture is written."""
    path, given = Path(file), os.path.isfile(file)  # noqa: PTH113 - no file, too, where a text is too long for a name
    if to is None:
        return path.with_name(f"{path.stem}.heat.png") if given else Path("explanation.png")
    if to.suffix.lower() != ".png":
        raise UserError(f"--to {to} must be a .png file")
    if given and to.exists() and to.samefile(path):
        raise UserError(f"--to {to} is the file that is explained; choose another")
    return to


def _single(file: str, loaded: "TrainedRun") -> "list[tuple[Sample, Tensor]]":
    found = list(loaded.predict([file]))
    if len(found) > 1:
        raise UserError(f"{file} holds {len(found)}, and one at a time is explained: put it into a file of its own")
    return found


def _number(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise unknown("class", name, names)
    return list(names).index(name)
