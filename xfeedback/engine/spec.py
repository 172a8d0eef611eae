"""The typed description of one run, and the name that follows from its content."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from xfeedback import data, methods
from xfeedback.config import from_mapping
from xfeedback.continual.options import EwcConfig, PhasesConfig
from xfeedback.data.decoy import DecoyConfig, task_name
from xfeedback.data.options import DatasetConfig
from xfeedback.engine.options import NOT_IDENTITY, EvaluationConfig, LoggerConfig, PathsConfig, TrainerConfig
from xfeedback.errors import UserError, unknown
from xfeedback.feedback.options import FeedbackConfig, OptimiserConfig
from xfeedback.kinds import WORDS

if TYPE_CHECKING:
    from xfeedback.models.base import ModelConfig


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything that one run needs to know.

    Attributes:
        dataset, decoy, model, optimiser, trainer, evaluation, logger, paths: options of each part.
        methods: the feedbacks' options by name, in order.
        phases: how training is cut into phases.
        continual: options of elastic weight consolidation, or None without it.
        seed: of weights, order, augmentation, decoys and noise.
        variant: ``clean``, or ``paper`` as the papers' programs behave.
        force: run anew what is finished.
        decoys_planted: decoys were switched on because a method needs annotations.
        notices: what was decided on the user's behalf, a line each.
    """

    dataset: DatasetConfig
    decoy: DecoyConfig = field(default_factory=DecoyConfig)
    methods: Mapping[str, FeedbackConfig]
    model: "ModelConfig"
    phases: PhasesConfig = field(default_factory=PhasesConfig)
    continual: EwcConfig | None = None
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    seed: int = 0
    variant: str = "clean"
    force: bool = False
    decoys_planted: bool = False
    notices: tuple[str, ...] = ()

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Build and check a spec from nested plain values, as they stand in ``config.yaml``.

        Raises:
            UserError: a key, type, value or combination that can't work.
        """
        return cls(**light_parts(values), **_imported(values)).settled()

    def settled(self) -> Self:
        """Decide what was left to ``auto`` and refuse a combination that can't work, before anything is loaded."""
        self._refuse_other_kinds()
        self._refuse_phases()
        if self.trainer.compile:
            self._refuse_compiling()
        if self.variant == "paper":
            self._refuse_without_paper_variant()
        if self.decoy.name != "auto":
            spec = self
        elif self._lacks_annotation() and self.dataset.plants_decoys and self.dataset.kind == "image":
            spec = self.with_decoys(f"{self.method} needs annotations and {self.dataset.name} has none")
        else:
            spec = replace(self, decoy=replace(self.decoy, name="none"))
        if spec._lacks_annotation():
            ways = _ON_IMAGES if spec.dataset.kind == "image" else "Give masks "
            raise UserError(
                f"method={spec.method} needs annotations and dataset={spec.dataset.name} with decoy=none has none. "
                f"{ways}(dataset.annotation.object_mask=file), or choose method=plain or saliency_guided."
            )
        spec = spec._told_truth()._without_idle_consolidation()
        return replace(spec, notices=(*spec.notices, *spec._idle_feedbacks()))

    def _refuse_phases(self) -> None:
        """Refuse what several phases can't be combined with."""
        name, kept = self.phases.name, self.phases.optimiser
        if self.phases.count > 1 and self.trainer.strategy == "ddp":
            raise UserError(f"phases={name} trains in one process. Use trainer=gpu or trainer=cpu.")
        if kept == "tf_legacy_step" and self.optimiser.name not in ("adam", "adamw"):
            raise UserError(f"phases.optimiser={kept} is about Adam's step count. Use optimiser=adam, or full.")

    def _refuse_other_kinds(self) -> None:
        """Refuse a network, a method or decoys for inputs of another kind than the data set's."""
        from xfeedback import models

        kind, name = self.dataset.kind, self.dataset.name
        models.check_kind(self.model, kind, f"dataset={name}")
        for method in self.methods:
            if kind not in methods.feedback_class(method).takes:
                fit = ", ".join(m for m in methods.names() if kind in methods.feedback_class(m).takes)
                raise UserError(
                    f"method={method} does not work on {WORDS[kind]}, which dataset={name} holds. Choose method={fit}."
                )

    def _refuse_compiling(self) -> None:
        """Refuse methods whose steps a compiled network can't serve."""
        for method in self.methods:
            if not methods.feedback_class(method).compiles:
                raise UserError(
                    f"trainer.compile=true: method={method} changes the network, looks into its layers or "
                    "differentiates a gradient, which torch.compile does not do. Use trainer.compile=false."
                )

    def _lacks_annotation(self) -> bool:
        return self.needs_annotation() and not data.annotates(self.dataset, self.decoy)

    def _told_truth(self) -> Self:
        """Leave out what changes annotations where no method reads them: the run is the same with any of it."""
        annotation = self.dataset.annotation
        if self.needs_annotation() or not annotation.stamps:
            return self
        notice = f"{self.method} reads no annotations: dataset.{', dataset.'.join(annotation.stamps)} changes nothing"
        dataset = replace(self.dataset, annotation=annotation.untouched())
        return replace(self, dataset=dataset, notices=(*self.notices, notice))

    def _without_idle_consolidation(self) -> Self:
        """Leave EWC out where lambda is 0: the run is the same as without it."""
        if self.continual is None or self.continual.weight > 0:
            return self
        return replace(self, continual=None)

    def _idle_feedbacks(self) -> Iterator[str]:
        if self.continual is not None and self.phases.count == 1:
            own = f"continual={self.continual.name}"
            yield f"{own} acts from the second phase on, and phases={self.phases.name} has one"
        for name, config in self.methods.items():
            waits = self.phases.count == 1 or config.warms_up_in_phases
            if waits and 0 < config.warmup_epochs >= self.trainer.max_epochs:
                yield (
                    f"{name} would act after {config.warmup_epochs} warm-up epochs, and there are only "
                    f"{self.trainer.max_epochs}: this trains as plain (method.{name}.warmup_epochs=0 makes it act)"
                )

    def _refuse_without_paper_variant(self) -> None:
        for name, config in self.methods.items():
            if name != "plain" and not hasattr(config, "variant"):
                raise UserError(f"method={name} has no variant=paper; use variant=clean.")

    def with_decoys(self, reason: str) -> Self:
        """Return the spec with corner decoys switched on, and the reason as a notice."""
        notice = f"{reason}: decoys are on (decoy=corner; decoy=none switches them off)"
        decoy = replace(self.decoy, name="corner")
        return replace(self, decoy=decoy, decoys_planted=True, notices=(*self.notices, notice))

    def needs_annotation(self) -> bool:
        """Whether one of the methods needs to know where the right evidence lies."""
        return any(methods.feedback_class(n).annotation_for(config) != "none" for n, config in self.methods.items())

    @property
    def method(self) -> str:
        """The methods' names joined by ``+``; ``plain`` when there are none."""
        return "+".join(self.methods) or "plain"

    @property
    def title(self) -> str:
        """The methods' names, and what holds the network near its last phase."""
        return self.method if self.continual is None else f"{self.method} with {self.continual.name}"

    @property
    def label(self) -> str:
        """The data set's name in tables."""
        return task_name(self.dataset, self.decoy)

    def plain(self) -> dict[str, Any]:
        """Return all options as nested plain values; :meth:`from_plain` reads them back.

        What is as it was before an option existed says nothing of it: the run keeps its name.
        """
        parts = ["dataset", "decoy", "model", "optimiser", "trainer", "evaluation", "logger", "paths"]
        parts += ["phases"] if self.phases != PhasesConfig() else []
        parts += ["continual"] if self.continual is not None else []
        values: dict[str, Any] = {part: _told(getattr(self, part)) for part in parts}
        values["method"] = {name: _told(config) for name, config in self.methods.items()}
        return json.loads(json.dumps({**values, "seed": self.seed, "variant": self.variant}))

    def identity(self) -> dict[str, Any]:
        """Return the options that decide a result: not where it is written, on what device, or what is shown."""
        values = self.plain()
        for part in ("logger", "paths"):
            del values[part]
        for key in NOT_IDENTITY:
            values["trainer"].pop(key, None)
        for key in self.dataset.not_identity:
            del values["dataset"][key]
        return values

    @cached_property
    def cell(self) -> str:
        """Hash of the identity without the seed: runs that differ in the seed alone share it."""
        return _hash({key: value for key, value in self.identity().items() if key != "seed"})

    @cached_property
    def run(self) -> str:
        """The run folder's name: readable parts and the identity's hash."""
        return f"{self.label}-{self.model.name}-{self.method}-s{self.seed}-{_hash(self.identity())}"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.paths.outputs) / "runs" / self.run


_ON_IMAGES = "Plant decoys (decoy=corner), mark the middle (dataset.annotation.object_mask=center), give masks "


def _told(config: Any) -> dict[str, Any]:
    """A part's options; those that are younger than the first results only where they are not as they were."""
    defaults = {f.name: f.default for f in fields(config)}
    unsaid = {name for name in getattr(config, "younger", ()) if getattr(config, name) == defaults[name]}
    parts = {f.name: _told(value) for f in fields(config) if is_dataclass(value := getattr(config, f.name))}
    return {name: value for name, value in (asdict(config) | parts).items() if name not in unsaid}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def light_parts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Build and check the options that need no heavy import; everything but data set, network and method.

    Raises:
        UserError: an unknown key, or a type or value that can't work.
    """
    for key, value in values.items():
        if key not in (*_LIGHT, "continual", *_SINGLE, *_HEAVY):
            raise unknown("option", str(key), (*_LIGHT, "continual", *_SINGLE, *_HEAVY))
        if key not in _SINGLE and not isinstance(value, Mapping | None):
            raise UserError(f"{key}={value} must be a group of options")
    parts: dict[str, Any] = {key: from_mapping(_LIGHT[key], values[key], key) for key in _LIGHT if key in values}
    if (values.get("continual") or {}).get("name", "none") != "none":
        parts["continual"] = from_mapping(EwcConfig, values["continual"], "continual")
    return parts | {key: _checked(key, values[key]) for key in _SINGLE if key in values}


_LIGHT = {
    "decoy": DecoyConfig,
    "phases": PhasesConfig,
    "optimiser": OptimiserConfig,
    "trainer": TrainerConfig,
    "evaluation": EvaluationConfig,
    "logger": LoggerConfig,
    "paths": PathsConfig,
}
_SINGLE = ("seed", "variant", "force")
_HEAVY = ("dataset", "model", "method")


def _imported(values: Mapping[str, Any]) -> dict[str, Any]:
    """Build the options that live beside their data set, network or method, the cheapest to import first."""
    dataset = _named(values.get("dataset"), "dataset", data.config_class)
    from xfeedback import models

    model = _named(values.get("model"), "model", models.config_class)
    chosen = {name: _method(name, options) for name, options in (values.get("method") or {}).items()}
    return {"dataset": dataset, "model": model, "methods": chosen}


def _named(values: Any, part: str, config_class: Any) -> Any:
    name = (values or {}).get("name")
    if not isinstance(name, str):
        raise UserError(f"option '{part}.name' has no value")
    return from_mapping(config_class(name), values, part)


def _method(name: str, options: Mapping[str, Any] | None) -> FeedbackConfig:
    return from_mapping(methods.feedback_class(str(name)).Config, options or {}, f"method.{name}")


def _checked(key: str, value: Any) -> Any:
    kinds = {"seed": int, "variant": str, "force": bool}
    good = isinstance(value, kinds[key]) and (key == "force" or not isinstance(value, bool))
    if not good or (isinstance(value, int) and value < 0):
        words = {"seed": "an integer, 0 or more", "variant": "clean or paper", "force": "true or false"}
        raise UserError(f"{key}={value} must be {words[key]}")
    if key == "variant" and value not in ("clean", "paper"):
        raise UserError(f"variant={value} must be clean or paper")
    return value
