"""What the report knows about metric names: titles, units, order, and which direction is better.

A name it has never seen is shown as it stands, without a unit and without a best row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

STEP_TIME = "cost/step_ms"
STEP_RATIO = "cost/step_ratio"
INSIDE = "explanation/inside"
"""The score of explanations that is shown where there is room for one."""

AVERAGE = "continual/average_accuracy"
FORGETTING = "continual/forgetting"
AFTER_PHASE = "acc/phase_"
"""Before the number of a phase: accuracy on the whole test set after it."""

_TITLES = {
    "acc/random": "Random decoys",
    "acc/conflict": "Conflicting decoys",
    "acc/clean": "No decoys",
    "acc/correlated": "Decoys as in training",
    "acc/test": "Test",
    "acc/worst_group": "Worst group",
    "acc/reliance": "Reliance on decoys",
    "continual/average_accuracy": "Average accuracy over the phases' tests",
    "continual/val_average_accuracy": "Average accuracy over the phases' validation sets",
    "continual/forgetting": "Forgetting",
    "continual/backward_transfer": "Backward transfer",
    "continual/forward_transfer": "Forward transfer",
    "explanation/inside": "Inside annotation",
    "explanation/wrong": "Inside wrong region",
    "explanation/wr": "Wrong-reason ratio",
    "explanation/ap95": "Precision of peaks",
    "explanation/ar95": "Recall of peaks",
    "explanation/iou50": "IoU at half height",
    "explanation/pointing": "Pointing game",
    "explanation/token_f1": "Token F1 against rationales",
    "explanation/auprc": "AUPRC against rationales",
    "explanation/mnd": "Mean normalised distance",
    "explanation/mnd_u": "Mean normalised distance, dead maps as uniform",
    "explanation/dead": "Dead maps",
    "explanation/decoy_effect": "Effect of the decoy on p",
    "explanation/area_wrong": "Area of the wrong region",
    "explanation/leak_share": "Cells of the object that a decoy's colour changes",
    "faithfulness/drop_area": "Area under accuracy, most relevant removed first",
    "faithfulness/drop_gain": "The same, less than at random",
    "faithfulness/masking_area": "Area under accuracy, shares of the map's mass masked",
    "faithfulness/masking_gain": "The same, less than with random maps",
    "faithfulness/road_morf": "ROAD accuracy, most relevant removed first",
    "faithfulness/road_lerf": "ROAD accuracy, least relevant removed first",
    "faithfulness/road": "ROAD, half the gap of probability",
    "faithfulness/deletion": "Deletion",
    "faithfulness/insertion": "Insertion",
    "faithfulness/comprehensiveness": "Comprehensiveness",
    "faithfulness/sufficiency": "Sufficiency",
    "faithfulness/aup": "Area under weighted precision",
    "faithfulness/aur": "Area under weighted recall",
    "faithfulness/aupr": "Area under precision and recall",
    "faithfulness/diff_aup": "AUP above random maps",
    "faithfulness/diff_aur": "AUR above random maps",
    "calibration/ece": "Calibration error",
    "calibration/ece_mass": "Calibration error, bins of equal mass",
    "calibration/brier": "Brier score",
    "calibration/nll": "Log loss",
    "calibration/ece_scaled": "Calibration error, after temperature scaling",
    "calibration/ece_mass_scaled": "Calibration error, bins of equal mass, after temperature scaling",
    "calibration/brier_scaled": "Brier score, after temperature scaling",
    "calibration/nll_scaled": "Log loss, after temperature scaling",
    "calibration/temperature": "Temperature",
    "margin/median": "Margin of the label's logit, median",
    "margin/narrow": "Samples with a margin below 1",
    "diversity/filter_cosine": "Likeness of filters",
    "diversity/filter_rank": "Effective rank of filters",
    "diversity/activation_rank": "Effective rank of activations",
    "diversity/relevant_units": "Units that carry relevance",
    "predicted/largest_share": "Class predicted most often",
    STEP_RATIO: "Relative step time",
    STEP_TIME: "Step time",
}
_SHORT = {
    "acc/random": "random",
    "acc/conflict": "conflict",
    "acc/clean": "clean",
    "acc/correlated": "correlated",
    "acc/test": "test",
    "acc/worst_group": "worst group",
    "acc/reliance": "reliance",
    "continual/average_accuracy": "average",
    "continual/forgetting": "forgetting",
    "continual/backward_transfer": "BWT",
    "continual/forward_transfer": "FWT",
    "explanation/inside": "inside",
    "explanation/wrong": "in wrong",
    "explanation/wr": "WR",
    "explanation/ap95": "AP@95",
    "explanation/ar95": "AR@95",
    "explanation/iou50": "IoU@.5",
    "explanation/pointing": "pointing",
    "explanation/token_f1": "token F1",
    "explanation/auprc": "AUPRC",
    "explanation/mnd": "MND",
    "explanation/mnd_u": "MND_u",
    "explanation/dead": "dead",
    "explanation/decoy_effect": "decoy effect",
    "explanation/area_wrong": "area of wrong",
    "explanation/leak_share": "leak",
    "faithfulness/drop_area": "drop area",
    "faithfulness/drop_gain": "drop gain",
    "faithfulness/masking_area": "masking area",
    "faithfulness/masking_gain": "masking gain",
    "faithfulness/road_morf": "ROAD MoRF",
    "faithfulness/road_lerf": "ROAD LeRF",
    "faithfulness/road": "ROAD",
    "faithfulness/deletion": "deletion",
    "faithfulness/insertion": "insertion",
    "faithfulness/comprehensiveness": "comp",
    "faithfulness/sufficiency": "suff",
    "faithfulness/aup": "AUP",
    "faithfulness/aur": "AUR",
    "faithfulness/aupr": "AUPR",
    "faithfulness/diff_aup": "Diff(AUP)",
    "faithfulness/diff_aur": "Diff(AUR)",
    "calibration/ece": "ECE",
    "calibration/ece_mass": "ECE mass",
    "calibration/brier": "Brier",
    "calibration/nll": "NLL",
    "calibration/ece_scaled": "ECE at T",
    "calibration/ece_mass_scaled": "ECE mass at T",
    "calibration/brier_scaled": "Brier at T",
    "calibration/nll_scaled": "NLL at T",
    "calibration/temperature": "T",
    "margin/median": "margin",
    "margin/narrow": "narrow",
    "diversity/filter_cosine": "cos",
    "diversity/filter_rank": "rank W",
    "diversity/activation_rank": "rank h",
    "diversity/relevant_units": "units",
    "predicted/largest_share": "top class",
    STEP_RATIO: "cost",
}
_ORDER = [
    "continual/average_accuracy",
    "continual/forgetting",
    "continual/backward_transfer",
    "continual/forward_transfer",
    "continual/",
    "acc/test",
    "acc/random",
    "acc/conflict",
    "acc/clean",
    "acc/correlated",
    "acc/worst_group",
    "acc/reliance",
    "acc/",
    "explanation/inside",
    "explanation/wrong",
    "explanation/wr",
    "explanation/ap95",
    "explanation/ar95",
    "explanation/iou50",
    "explanation/pointing",
    "explanation/token_f1",
    "explanation/auprc",
    "explanation/mnd",
    "explanation/mnd_u",
    "explanation/dead",
    "explanation/decoy_effect",
    "explanation/",
    "faithfulness/drop_area",
    "faithfulness/drop_gain",
    "faithfulness/",
    "calibration/ece",
    "calibration/ece_mass",
    "calibration/brier",
    "calibration/nll",
    "calibration/ece_scaled",
    "calibration/ece_mass_scaled",
    "calibration/brier_scaled",
    "calibration/nll_scaled",
    "calibration/",
    "margin/",
    "diversity/",
    "cost/step_ratio",
    "cost/step_ms",
    "cost/",
]
_EXPLAINERS = {
    "grad_cam": "Grad-CAM",
    "gradient": "gradient",
    "integrated_gradients": "integrated gradients",
    "smoothgrad": "SmoothGrad",
    "deeplift": "DeepLIFT",
    "gradient_shap": "GradientSHAP",
    "deep_shap": "DeepSHAP",
    "occlusion": "occlusion",
    "lime": "LIME",
    "uniform": "uniform map",
    "random": "random map",
    "centre": "centred map",
}
_SHARES = ("drop_area", "drop_gain", "masking", "road", "deletion", "insertion")
"""Scores of faithfulness in percent; the others lie between 0 and 1."""
_HIGHER = (
    "acc/",
    *(f"continual/{name}" for name in ("average_accuracy", "val_average", "backward_transfer", "forward_transfer")),
    *(f"explanation/{name}" for name in ("inside", "ap95", "ar95", "iou50", "pointing", "token_f1", "auprc")),
    *(f"faithfulness/{name}" for name in ("drop_gain", "masking_gain", "road", "insertion", "comprehensiveness")),
    *(f"faithfulness/{name}" for name in ("au", "diff_")),
)
_LOWER = (
    *("cost/", "continual/forgetting", "acc/reliance"),
    *(f"calibration/{name}" for name in ("ece", "brier", "nll")),
    *(f"explanation/{name}" for name in ("wr", "mnd", "dead", "decoy_effect")),
    *(f"faithfulness/{name}" for name in ("drop_area", "masking_area", "road_morf", "deletion", "sufficiency")),
)


@dataclass(frozen=True, slots=True)
class Metric:
    """How one metric is shown.

    Attributes:
        name: as in ``result.json``.
        title: heading for people.
        short: heading for narrow tables.
        unit: ``%``, ``ms``, ``x`` or an empty string.
        better: which direction is good; None when it is not known.
    """

    name: str
    title: str
    short: str
    unit: str
    better: Literal["higher", "lower"] | None

    @property
    def digits(self) -> int:
        """Decimals shown in tables for people; good distances are small parts of the diagonal, areas below 1."""
        if self.name.startswith(("faithfulness/", "calibration/")) and not self.unit:
            return 3
        return 1 if self.unit == "%" and not self.name.startswith("explanation/mnd") else 2

    @property
    def is_accuracy(self) -> bool:
        """Whether it is an accuracy: on some test view, of the worst group, or the mean over the tests of phases."""
        return self.name == AVERAGE or (self.name.startswith("acc/") and self.name != "acc/reliance")

    @property
    def is_view(self) -> bool:
        """Whether it is the accuracy on a whole test view at the end of training."""
        return self.is_accuracy and self.name != "acc/worst_group" and not self.name.startswith(AFTER_PHASE)


def describe(name: str) -> Metric:
    """Return how to show the metric called ``name``."""
    better = "lower" if name.startswith(_LOWER) else "higher" if name.startswith(_HIGHER) else None
    return Metric(name, _named(_TITLES, name), _named(_SHORT, name), _unit(name), better)


def _named(names: Mapping[str, str], name: str) -> str:
    """What ``names`` says of a metric, or of the metric of which it is another explainer's."""
    if name.startswith(AFTER_PHASE):
        return f"Test after phase {name.removeprefix(AFTER_PHASE)}"
    for ending, explainer in _EXPLAINERS.items():
        score = name.removesuffix(f"_{ending}")
        if score != name and score in names:
            return f"{names[score]}, {explainer}"
    return names.get(name, name)


def ordered(names: Iterable[str]) -> list[str]:
    """Sort metric names: accuracies, explanations, costs, then the rest by name."""
    return sorted(set(names), key=lambda name: (_rank(name), len(name) if name.startswith(AFTER_PHASE) else 0, name))


def headline(names: Iterable[str]) -> str | None:
    """The accuracy that decides a comparison: over phases their average, else with random decoys, else on the test."""
    accuracies = [name for name in ordered(names) if describe(name).is_view]
    return next(
        (name for name in (AVERAGE, "acc/random", "acc/test") if name in accuracies),
        accuracies[0] if accuracies else None,
    )


def _rank(name: str) -> int:
    matches = [
        position for position, key in enumerate(_ORDER) if name == key or (key[-1] == "/" and name.startswith(key))
    ]
    return min(matches, default=len(_ORDER))


def _unit(name: str) -> str:
    if name == STEP_RATIO:
        return "×"
    if name.endswith("_ms"):
        return "ms"
    shares = (
        "acc/",
        "continual/",
        "explanation/",
        "predicted/",
        "calibration/ece",
        "margin/narrow",
        *(f"faithfulness/{score}" for score in _SHARES),
    )
    return "%" if name.startswith(shares) else ""
