"""Which explainer a score of maps without an ending is of: in a table the same one in all runs.

A run calls the scores of the first of its ``evaluation.explainers`` that works on its network ``explanation/<score>``
and those of the others ``explanation/<score>_<name>``, so that two runs may call different explainers' scores alike.
"""

import json
from collections.abc import Mapping

from xfeedback.report.collect import Run
from xfeedback.report.labels import EXPLAINERS, OF_NO_MAP

STAND_IN = "gradient"
"""What explains where none of the explainers works."""
OF_A_LAYER = (
    *("grad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam", "activation_norm"),
    *("score_cam", "occlusion"),
)
"""Explainers that a network without a feature map can't have."""
_SCORES = "explanation/"


def headline_explainer(run: Run, options: Mapping[str, str]) -> str | None:
    """Return whose scores have no ending in ``run``.

    Args:
        run: whose notes say what was left out.
        options: its options, flat.

    Returns:
        Its name; None where no map was scored, or where the options don't say.
    """
    try:
        named = json.loads(options["evaluation.explainers"])
    except (KeyError, ValueError):
        return None
    if not any(name.startswith(_SCORES) and name not in OF_NO_MAP for name in run.metrics):
        return None
    blind = any(note.startswith("class activation maps and occlusion are left out") for note in run.notes)
    lost = {name for name in named if any(note.startswith(f"{name} was left out") for note in run.notes)}
    lost |= set(OF_A_LAYER) if blind else set()
    return next((name for name in named if name not in lost), STAND_IN)


def renamed(metrics: Mapping[str, float], own: str | None, shared: str | None) -> dict[str, float]:
    """Return a run's metrics as they are called where ``shared`` is the explainer without an ending.

    Args:
        metrics: by name.
        own: whose scores have no ending in this run; None: it is not known, and nothing is renamed.
        shared: whose have none in the table.

    >>> renamed({"explanation/inside": 7.0, "explanation/inside_grad_cam": 5.0, "acc/test": 9.0}, "lime", "grad_cam")
    {'explanation/inside_lime': 7.0, 'explanation/inside': 5.0, 'acc/test': 9.0}
    """
    if own == shared or own is None or shared is None:
        return dict(metrics)
    return {_renamed(name, own, shared): value for name, value in metrics.items()}


def _renamed(name: str, own: str, shared: str) -> str:
    if not name.startswith(_SCORES) or name in OF_NO_MAP:
        return name
    if name.endswith(f"_{shared}"):
        return name.removesuffix(f"_{shared}")
    return name if any(name.endswith(f"_{other}") for other in EXPLAINERS) else f"{name}_{own}"
