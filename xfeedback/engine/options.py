"""Options of training, evaluation, logging and folders."""

import os
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from xfeedback.config import require
from xfeedback.errors import UserError

NOT_IDENTITY = (
    "accelerator",
    "devices",
    "strategy",
    "threads",
    "progress",
    "checkpoint_every_n_epochs",
    "validate_every_n_epochs",
)


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How a run is trained.

    Attributes:
        max_epochs: passes over the training set.
        batch_size: samples a step, over all devices together.
        accelerator: ``auto`` takes a GPU when there is one.
        devices: how many of them.
        strategy: ``ddp`` for several devices or processes.
        precision: of the forward and backward passes; explanations are always float32.
        channels_last: memory format of images.
        gradient_clip: largest norm of the gradient, or None.
        accumulate: batches a step of the optimiser.
        select_on: weights kept: of the epoch best on ``val_random``, ``val_correlated`` or ``val``, or the ``last``;
            ``auto``: ``val_random`` with decoys (``val_clean`` with ``decoy.code=released``), else ``val``, and
            ``last`` where the data has no validation set. For audits of programs that do so, stamped: ``test``, and
            with ``phases=mistakes`` ``next_slice``: the slice of the pool whose mistakes come next, in the last phase
            the test set.
        select_tie: which epoch counts as better: any gain (``exact``), or one in hundredths of a point (``round2``).
        threads: CPU threads of torch; None: in a Slurm job the task's cores, with ``hydra/launcher=joblib`` the cores
            divided by the jobs at once, one with ``execution=processes``, else all cores.
        progress: show a progress bar.
        checkpoint_every_n_epochs: how often the state for resuming is saved.
        validate_every_n_epochs: how often accuracy on validation data is logged; more than 1 only where nothing hangs
            on it (``select_on=last``). Training is the same to the last bit.
        compile: fuse the network's operations with ``torch.compile``, for methods that differentiate once; results
            agree to rounding, not to the last bit.
        younger: options that came after the first results: at its default such a one is no part of a run's name.
    """

    younger: ClassVar[tuple[str, ...]] = ("compile",)
    max_epochs: int = 10
    batch_size: int = 128
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    channels_last: bool = False
    gradient_clip: float | None = None
    accumulate: int = 1
    select_on: Literal["auto", "last", "val", "val_random", "val_clean", "val_correlated", "test", "next_slice"] = (
        "auto"
    )
    select_tie: Literal["exact", "round2"] = "exact"
    threads: int | None = None
    progress: bool = True
    checkpoint_every_n_epochs: int = 1
    validate_every_n_epochs: int = 1
    compile: bool = False

    def __post_init__(self) -> None:
        every = ("checkpoint_every_n_epochs", "validate_every_n_epochs")
        for name in ("max_epochs", "batch_size", "devices", "accumulate", *every):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more")
        require(self.gradient_clip is None or self.gradient_clip > 0, "gradient_clip", self.gradient_clip, "above 0")
        require(self.devices == 1 or self.strategy == "ddp", "devices", self.devices, "1 unless trainer=ddp")
        rarely, only = self.validate_every_n_epochs, "1 unless trainer.select_on=last"
        require(rarely == 1 or self.select_on == "last", "validate_every_n_epochs", rarely, only)
        shared = f"a multiple of devices ({self.devices})"
        require(self.batch_size % self.devices == 0, "batch_size", self.batch_size, shared)


Explainer = Literal[
    "grad_cam",
    "grad_cam_plus_plus",
    "layer_cam",
    "hires_cam",
    "score_cam",
    "activation_norm",
    "gradient",
    "guided_backprop",
    "integrated_gradients",
    "smoothgrad",
    "deeplift",
    "deeplift_functional",
    "gradient_shap",
    "deep_shap",
    "lrp_epsilon",
    "lrp_zplus",
    "lrp_gamma",
    "lrp_alpha_beta",
    "lrp_composite",
    "occlusion",
    "lime",
    "lap_last",
    "lap_mean",
    "lap_geomean",
    "lap_flow",
    "lap_flow_x_score",
    "uniform",
    "random",
    "centre",
]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a trained network is evaluated.

    Attributes:
        split: ``validation``: whatever would be measured on test data is measured on validation data, under names that
            begin with ``val/``, and test data are dropped as soon as they are loaded. For choosing options.
        batch_size: samples at a time.
        explainers: explanations that are scored and shown; the first is the headline. ``uniform``, ``random`` and
            ``centre`` know nothing of the network: floors for the scores.
        explained: how many test samples are explained at most: the first; of a set that comes class by class as large a
            part of each class. So with all numbers of samples below.
        explained_slow: how many of them by ``integrated_gradients``, ``occlusion``, ``lime`` and ``score_cam``:
            dozens of passes.
        pictures: how many test samples are shown with their explanations.
        faithfulness: what is measured by taking positions away, or against known relevant ones; see
            :mod:`xfeedback.engine.faithfulness`.
        faithfulness_explainers: whose maps; ``random`` is always among them.
        faithfulness_samples: of how many test samples at most.
        recompute_each_level: explain anew, with other draws, at each level of the accuracy drop, as released.
        further: measures on demand; see :mod:`xfeedback.engine.further`.
        grids: how many grids of images ``grid_pointing`` lays out.
        explain_class: the class whose logit these maps explain.
        removal: what removed positions become: the input's first position, as released, the mean training input or
            zero; ``auto``: the first pixel of images, the mean of series. Tokens become zero embeddings.
        baseline: where integrated gradients and DeepLIFT start: the mean training input, zero, or a draw from U(0, 1)
            for each input, as released. Texts start at zero embeddings.
        background: what GradientSHAP and DeepSHAP draw baselines from: training inputs, or U(0, 1), as released.
        channels: magnitudes before or after the mean over the channels; the gradient, SmoothGrad and guided backprop
            always before.
        diff_random: what AUP and AUR of series are compared with: independent noise, or an explainer's maps with
            their features permuted.
        aopc_ranks: which tokens comprehensiveness and sufficiency rank: ``all``, as for e-SNLI, or those after the
            first separator, as for FEVER; the question then stays in both.
        diversity: measure margins, filters, activations and relevance too; see :mod:`xfeedback.engine.diversity`.
        diversity_samples: on how many test samples at most.
        younger: options that came after the first results: at its default such a one is no part of a run's name.
    """

    younger: ClassVar[tuple[str, ...]] = ("split", "recompute_each_level")
    split: Literal["test", "validation"] = "test"
    batch_size: int = 256
    explainers: tuple[Explainer, ...] = ("grad_cam", "gradient")
    explained: int = 1000
    explained_slow: int = 200
    pictures: int = 10
    faithfulness: tuple[
        Literal["accuracy_drop", "road", "deletion", "insertion", "relevance", "masking", "aopc"], ...
    ] = ()
    faithfulness_explainers: tuple[Explainer, ...] = (
        "gradient",
        "integrated_gradients",
        "smoothgrad",
        "deeplift",
        "gradient_shap",
        "deep_shap",
    )
    faithfulness_samples: int = 1000
    recompute_each_level: bool = False
    further: tuple[
        Literal["top5", "near", "coarse", "pixels", "confidence", "random_weights", "inner", "grid_pointing"], ...
    ] = ()
    grids: int = 500
    explain_class: Literal["predicted", "true"] = "predicted"
    removal: Literal["auto", "own_corner", "mean", "zero"] = "auto"
    baseline: Literal["mean", "zero", "uniform"] = "mean"
    background: Literal["train", "uniform"] = "train"
    channels: Literal["abs_then_mean", "mean_then_abs"] = "abs_then_mean"
    diff_random: Literal["iid", "feature_permuted"] = "iid"
    aopc_ranks: Literal["all", "document"] = "all"
    diversity: bool = False
    diversity_samples: int = 500

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        for name in ("faithfulness_samples", "diversity_samples"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.grids >= 1, "grids", self.grids, "1 or more")
        for name in ("explained", "explained_slow", "pictures"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("explainers", "faithfulness", "faithfulness_explainers", "further"):
            found = getattr(self, name)
            require(len(set(found)) == len(found), name, list(found), "different from each other")


@dataclass(frozen=True, kw_only=True)
class LoggerConfig:
    """A logger on top of the run folder's own ``metrics.jsonl``.

    Attributes:
        name: which one.
        project: for wandb; for MLflow the experiment.
        mode: for wandb: ``auto`` is offline unless the user has logged in; WANDB_MODE overrides it.
        charts: for wandb: the user or team for whom ``scripts/wandb_dashboard.py`` has made the charts of comparisons;
            None: bars of wandb's own.
    """

    name: Literal["none", "wandb", "tensorboard", "csv", "mlflow"] = "none"
    project: str = "xfeedback"
    mode: Literal["auto", "online", "offline"] = "auto"
    charts: str | None = None


@dataclass(frozen=True, kw_only=True)
class PathsConfig:
    """Folders; a leading ``~`` is the user's own.

    Attributes:
        outputs: runs and comparisons are written here.
        data: data sets are looked for, and downloaded, here.
        shared_data: further folders with data sets, only read.
        cache: decoded data sets.
    """

    outputs: str = "outputs"
    data: str = "data"
    shared_data: tuple[str, ...] = ()
    cache: str = "outputs/cache"

    def __post_init__(self) -> None:
        for name in ("outputs", "data", "cache"):
            object.__setattr__(self, name, _at_home(name, getattr(self, name)))
        object.__setattr__(self, "shared_data", tuple(_at_home("shared_data", path) for path in self.shared_data))


def _at_home(option: str, path: str) -> str:
    """Return a path with a user's folder for a leading ``~`` or ``~name``, which no shell puts there after a ``=``."""
    expanded = os.path.expanduser(path)  # noqa: PTH111 - Path would drop a leading ./
    known = "a folder: there is no such user (./~ is a folder of this name)"
    require(not expanded.startswith("~"), option, path, known)
    return expanded


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How a comparison is run.

    Attributes:
        dry: print the plan and what it will take, and stop.
        fail_fast: begin no further cell once one has failed.
        detach: submit the cells to the queue, print the jobs' numbers, and stop.
        cells: a text file with the overrides of one cell a line, each combined with the grid of the command line.
    """

    dry: bool = False
    fail_fast: bool = False
    detach: bool = False
    cells: str | None = None

    def refuse_single(self) -> None:
        """Refuse what makes no sense of a single run.

        Raises:
            UserError: an option of comparisons.
        """
        for name, value in asdict(self).items():
            if value:
                raise UserError(f"sweep.{name} is an option of comparisons: add -m to the command, or leave it out")
