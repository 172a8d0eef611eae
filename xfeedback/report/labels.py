"""What the report calls metrics, in which order it shows them, and which direction is good."""

from typing import NamedTuple

STEP_TIME = "cost/step_ms"
STEP_RATIO = "cost/step_ratio"
INSIDE = "explanation/inside"
"""The score of explanations that is shown where there is room for one."""

AVERAGE = "continual/average_accuracy"
FORGETTING = "continual/forgetting"
AFTER_PHASE = "acc/phase_"
"""Before the number of a phase: accuracy on the whole test set after it."""
VALIDATION = "val/"
"""Before the names of a run that was measured on validation data."""


class Label(NamedTuple):
    """What a metric is called: a heading for people, and a shorter one for narrow tables."""

    title: str
    short: str


LABELS = {
    "acc/random": Label("Random decoys", "random"),
    "acc/conflict": Label("Conflicting decoys", "conflict"),
    "acc/clean": Label("No decoys", "clean"),
    "acc/correlated": Label("Decoys as in training", "correlated"),
    "acc/test": Label("Test", "test"),
    "acc/top5": Label("Test, class among the five largest logits", "top 5"),
    "acc/worst_group": Label("Worst group", "worst group"),
    "acc/reliance": Label("Reliance on decoys", "reliance"),
    AVERAGE: Label("Average accuracy over the phases' tests", "average"),
    "continual/val_average_accuracy": Label("Average accuracy over the phases' validation sets", "val average"),
    FORGETTING: Label("Forgetting", "forgetting"),
    "continual/backward_transfer": Label("Backward transfer", "BWT"),
    "continual/forward_transfer": Label("Forward transfer", "FWT"),
    INSIDE: Label("Inside annotation", "inside"),
    "explanation/wrong": Label("Inside wrong region", "in wrong"),
    "explanation/wr": Label("Wrong-reason ratio", "WR"),
    "explanation/ap95": Label("Precision of peaks", "AP@95"),
    "explanation/ar95": Label("Recall of peaks", "AR@95"),
    "explanation/iou50": Label("IoU at half height", "IoU@.5"),
    "explanation/pointing": Label("Pointing game", "pointing"),
    "explanation/pointing_near": Label("Pointing game, 15 of 224 pixels beside", "pointing near"),
    "explanation/pointing_coarse": Label("Pointing game on 28 x 28 cells", "pointing 28"),
    "explanation/inside_coarse": Label("Inside annotation on 28 x 28 cells", "inside 28"),
    "explanation/iou50_coarse": Label("IoU at half height on 28 x 28 cells", "IoU@.5 28"),
    "explanation/pixel_ap": Label("Average precision of pixels", "pixel AP"),
    "explanation/best_iou": Label("IoU at each map's best threshold", "best IoU"),
    "explanation/grid_pointing": Label("Inside the own image of a grid", "grid pointing"),
    "explanation/token_f1": Label("Token F1 against rationales", "token F1"),
    "explanation/auprc": Label("AUPRC against rationales", "AUPRC"),
    "explanation/mnd": Label("Mean normalised distance", "MND"),
    "explanation/mnd_u": Label("Mean normalised distance, dead maps as uniform", "MND_u"),
    "explanation/dead": Label("Dead maps", "dead"),
    "explanation/decoy_effect": Label("Effect of the decoy on p", "decoy effect"),
    "explanation/area_wrong": Label("Area of the wrong region", "area of wrong"),
    "explanation/leak_share": Label("Cells of the object that a decoy's colour changes", "leak"),
    "explanation/confidence_drop": Label("Fall of p on the input times the map", "conf. drop"),
    "explanation/confidence_increase": Label("Inputs whose p rises times the map", "conf. increase"),
    "explanation/random_weights": Label("Likeness to maps of random weights", "random weights"),
    "faithfulness/drop_area": Label("Area under accuracy, most relevant removed first", "drop area"),
    "faithfulness/drop_gain": Label("The same, less than at random", "drop gain"),
    "faithfulness/masking_area": Label("Area under accuracy, shares of the map's mass masked", "masking area"),
    "faithfulness/masking_gain": Label("The same, less than with random maps", "masking gain"),
    "faithfulness/road_morf": Label("ROAD accuracy, most relevant removed first", "ROAD MoRF"),
    "faithfulness/road_lerf": Label("ROAD accuracy, least relevant removed first", "ROAD LeRF"),
    "faithfulness/road": Label("ROAD, half the gap of probability", "ROAD"),
    "faithfulness/deletion": Label("Deletion", "deletion"),
    "faithfulness/insertion": Label("Insertion", "insertion"),
    "faithfulness/comprehensiveness": Label("Comprehensiveness", "comp"),
    "faithfulness/sufficiency": Label("Sufficiency", "suff"),
    "faithfulness/aup": Label("Area under weighted precision", "AUP"),
    "faithfulness/aur": Label("Area under weighted recall", "AUR"),
    "faithfulness/aupr": Label("Area under precision and recall", "AUPR"),
    "faithfulness/diff_aup": Label("AUP above random maps", "Diff(AUP)"),
    "faithfulness/diff_aur": Label("AUR above random maps", "Diff(AUR)"),
    "faithfulness/inner_drop": Label("Fall of the logit, most attended tenth not pooled", "inner drop"),
    "faithfulness/inner_drop_random": Label("Fall of the logit, random tenth not pooled", "inner drop, random"),
    "calibration/ece": Label("Calibration error", "ECE"),
    "calibration/ece_mass": Label("Calibration error, bins of equal mass", "ECE mass"),
    "calibration/brier": Label("Brier score", "Brier"),
    "calibration/nll": Label("Log loss", "NLL"),
    "calibration/ece_scaled": Label("Calibration error, after temperature scaling", "ECE at T"),
    "calibration/ece_mass_scaled": Label(
        "Calibration error, bins of equal mass, after temperature scaling", "ECE mass at T"
    ),
    "calibration/brier_scaled": Label("Brier score, after temperature scaling", "Brier at T"),
    "calibration/nll_scaled": Label("Log loss, after temperature scaling", "NLL at T"),
    "calibration/temperature": Label("Temperature", "T"),
    "margin/median": Label("Margin of the label's logit, median", "margin"),
    "margin/narrow": Label("Samples with a margin below 1", "narrow"),
    "diversity/filter_cosine": Label("Likeness of filters", "cos"),
    "diversity/filter_rank": Label("Effective rank of filters", "rank W"),
    "diversity/activation_rank": Label("Effective rank of activations", "rank h"),
    "diversity/relevant_units": Label("Units that carry relevance", "units"),
    "predicted/largest_share": Label("Class predicted most often", "top class"),
    STEP_RATIO: Label("Relative step time", "cost"),
    STEP_TIME: Label("Step time", "step time"),
}
ORDER = [
    AVERAGE,
    FORGETTING,
    "continual/backward_transfer",
    "continual/forward_transfer",
    "continual/",
    "acc/test",
    "acc/top5",
    "acc/random",
    "acc/conflict",
    "acc/clean",
    "acc/correlated",
    "acc/worst_group",
    "acc/reliance",
    "acc/",
    INSIDE,
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
    STEP_RATIO,
    STEP_TIME,
    "cost/",
]
"""A name that ends with a stroke stands for all others that begin so."""
OF_NO_MAP = ("explanation/decoy_effect", "explanation/area_wrong", "explanation/leak_share")
"""What stands among the scores of maps and is of the network or the data."""
EXPLAINERS = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "LayerCAM",
    "hires_cam": "HiResCAM",
    "score_cam": "Score-CAM",
    "activation_norm": "activation norm",
    "gradient": "gradient",
    "guided_backprop": "guided backprop",
    "integrated_gradients": "integrated gradients",
    "smoothgrad": "SmoothGrad",
    "deeplift": "DeepLIFT",
    "deeplift_functional": "(x - baseline) x gradient",
    "gradient_shap": "GradientSHAP",
    "deep_shap": "DeepSHAP",
    "lrp_epsilon": "LRP (epsilon)",
    "lrp_zplus": "LRP (z+)",
    "lrp_gamma": "LRP (gamma)",
    "lrp_alpha_beta": "LRP (alpha-beta)",
    "lrp_composite": "LRP (composite)",
    "occlusion": "occlusion",
    "lime": "LIME",
    "lap_last": "last attention",
    "lap_mean": "mean of attention",
    "lap_geomean": "geometric mean of attention",
    "lap_flow": "flow of attention",
    "lap_flow_x_score": "flow of attention times score",
    "uniform": "uniform map",
    "random": "random map",
    "centre": "centred map",
}
SHARES = (
    *("acc/", "continual/", "explanation/", "predicted/", "calibration/ece", "margin/narrow"),
    *(f"faithfulness/{score}" for score in ("drop_area", "drop_gain", "masking", "road", "deletion", "insertion")),
)
"""Beginnings of names in percent; other scores of faithfulness lie between 0 and 1 or are logits."""
HIGHER = (
    "acc/",
    *(f"continual/{name}" for name in ("average_accuracy", "val_average", "backward_transfer", "forward_transfer")),
    *(f"explanation/{name}" for name in ("inside", "ap95", "ar95", "iou50", "pointing", "token_f1", "auprc")),
    *(f"explanation/{name}" for name in ("pixel_ap", "best_iou", "grid_pointing", "confidence_increase")),
    *(f"faithfulness/{name}" for name in ("drop_gain", "masking_gain", "road", "insertion", "comprehensiveness")),
    *(f"faithfulness/{name}" for name in ("au", "diff_")),
)
LOWER = (
    *("cost/", "continual/forgetting", "acc/reliance"),
    *(f"calibration/{name}" for name in ("ece", "brier", "nll")),
    *(f"explanation/{name}" for name in ("wr", "mnd", "dead", "decoy_effect", "confidence_drop")),
    *(f"faithfulness/{name}" for name in ("drop_area", "masking_area", "road_morf", "deletion", "sufficiency")),
)
"""Beginnings of names; of what begins with neither it is not known which direction is good."""
