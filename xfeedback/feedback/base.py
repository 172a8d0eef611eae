"""A feedback: one way in which an explanation steers training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Self, cast

from torch import Generator, Tensor, nn
from typing_extensions import TypeVar

from xfeedback.feedback.options import FeedbackConfig
from xfeedback.feedback.step import Step
from xfeedback.kinds import Kind
from xfeedback.types import Batch, Phase

Options_co = TypeVar("Options_co", bound=FeedbackConfig, covariant=True, default=FeedbackConfig)
"""The options of a feedback, by which its ``config`` has a type of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Another input, or other features, to run beside the clean ones.

    Attributes:
        x: shape of the batch's input or, of texts, of their embeddings.
        shared_noise: repeat the dropout masks of the clean pass.
        update_statistics: let normalisation layers move their running statistics.
        changes: what becomes of layers' outputs in this pass, by layer.
        recalls: layers, of those the step holds (:attr:`Feedback.layers`), whose outputs of the clean pass are used
            again instead of computed: a change of a late layer then costs only what comes after it.
    """

    x: Tensor
    shared_noise: bool = True
    update_statistics: bool = False
    changes: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    recalls: tuple[str, ...] = ()


class Feedback(nn.Module, Generic[Options_co]):
    """One way in which an explanation steers training: override the hooks that the method needs.

    The host calls, per phase: :meth:`phase_start`; per step, while :meth:`strength` is above 0: :meth:`change` and
    :meth:`inside`, then :meth:`sample_weights`, :meth:`view`, :meth:`penalty`;
    then :meth:`epochs_end`, :meth:`phase_end`. One whose full strength is 0 is called by :meth:`prepare` and
    :meth:`epoch_start` alone, unless it :attr:`changes_network`.

    A method with options of its own derives from ``Feedback[ItsConfig]`` and says ``Config = ItsConfig``.

    What a feedback keeps from one hook to the next goes into registered buffers: they are in every checkpoint, whatever
    shape a phase gives them, and a resumed run finds them without :meth:`phase_start` being called again.

    Attributes:
        name: as in ``method=<name>``.
        Config: the type of its options.
        config: the options it was built with; never changed.
        strength_option: the option whose value is the weight after warm-up; 0 makes training plain to the last bit.
            None: the feedback always acts.
        takes: the kinds of inputs it can work on.
        annotation: what the data must carry: ``mask`` (the right region), ``wrong`` (either region), or nothing.
        changes_network: :meth:`prepare` returns another network, whatever the strength; strength 0 then trains that
            network on cross-entropy alone. Such feedbacks are prepared before all others.
        stacks: several seeds of it can be trained as one (:mod:`xfeedback.engine.stacked`): its hooks run no forward
            pass and take no gradient but through what :class:`~xfeedback.feedback.Step` offers. ``without_batch_norm``:
            it needs a third derivative, which torch does not take correctly of BatchNorm.
        compiles: its steps run the network as it is, take no gradient of a gradient and look into no layer, so that
            ``trainer.compile`` can fuse the network's operations.
        layers: names of layers whose outputs each step must hold; set in :meth:`prepare`.
        input_gradient: whether the clean pass must admit gradients with respect to the input.
        stamps: what must stand beside every result of this feedback; set when it is built.
        notes: what a person should know about it on this network, a line each; set in :meth:`prepare`.
        steps_per_epoch: batches an epoch of the present training has, set before its first starts; None: not known.
    """

    name: ClassVar[str]
    Config: ClassVar[type[FeedbackConfig]] = FeedbackConfig
    strength_option: ClassVar[str | None] = None
    takes: ClassVar[tuple[Kind, ...]] = ("image",)
    annotation: ClassVar[Literal["none", "mask", "wrong"]] = "none"
    changes_network: ClassVar[bool] = False
    stacks: ClassVar[bool | Literal["without_batch_norm"]] = False
    compiles: ClassVar[bool] = False
    config: Options_co
    layers: tuple[str, ...] = ()
    input_gradient: bool = False
    stamps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    steps_per_epoch: int | None = None

    def __init__(self, config: Options_co | None = None) -> None:
        super().__init__()
        self.config = config or cast("Options_co", self.Config())

    @classmethod
    def with_options(cls, **options: Any) -> Self:
        """Build the feedback from keyword options of its ``Config``."""
        return cls(cast("Options_co", cls.Config(**options)))

    @classmethod
    def annotation_for(cls, config: FeedbackConfig) -> Literal["none", "mask", "wrong"]:
        """Return what the data must carry with these options."""
        del config
        return cls.annotation

    @property
    def full_strength(self) -> float:
        """The weight of the feedback after warm-up; 0 switches it off."""
        return 1.0 if self.strength_option is None else float(getattr(self.config, self.strength_option))

    def strength(self, epoch: int) -> float:
        """Return the weight in ``epoch`` (from 0): 0 during warm-up, then a linear ramp to full strength."""
        after = epoch - self.config.warmup_epochs
        if after < 0:
            return 0.0
        ramp = self.config.ramp_epochs
        return self.full_strength * (min(1.0, (after + 1) / (ramp + 1)) if ramp else 1.0)

    def turn(self, step: Step) -> int:
        """Return which of an epoch's steps this is (from 0) of those in which the feedback acts: ``every_n_steps``."""
        return step.number // self.config.every_n_steps

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Return the network to train, changed or not, and look up what the feedback needs of it.

        Args:
            network: the network before training.
            example: one input ``(1, ...)``.

        Raises:
            UserError: the network can't be explained in this way.
        """
        del example
        return network

    def phase_start(self, network: nn.Module, phase: Phase) -> None:
        """Act before the first step of a phase; the network is on its device and in evaluation mode."""

    def phase_resume(self, network: nn.Module, phase: Phase) -> None:
        """Keep of a resumed phase what no checkpoint holds, e.g. its samples; called instead of :meth:`phase_start`."""

    def epochs_end(self, network: nn.Module, phase: Phase) -> None:
        """Act after the last step of a phase, before the weights that were selected are put back; likewise."""

    def phase_end(self, network: nn.Module, phase: Phase) -> None:
        """Act at the end of a phase; the network has the weights that were selected; likewise."""

    def epoch_start(self, network: nn.Module, epoch: int) -> None:
        """Act before the first step of an epoch (from 0), whatever the strength; when resuming too."""

    def change(self, batch: Batch, epoch: int, draws: Callable[[str], Generator]) -> Batch:
        """Return the batch to train on instead, before the clean pass; every feedback then sees this one.

        Args:
            batch: on the network's device, as the feedbacks before this one left it.
            epoch: from 0.
            draws: gives a generator on that device for a purpose of this step.
        """
        del epoch, draws
        return batch

    def inside(
        self, batch: Batch, epoch: int, draws: Callable[[str], Generator]
    ) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return what becomes of layers' outputs in every training pass of the step, of any feedback, by layer.

        Each maps an output ``(B, ...)`` to one of the same shape.
        Arguments as in :meth:`change`; the batch is as all feedbacks left it.
        """
        del batch, epoch, draws
        return {}

    def sample_weights(self, step: Step) -> Tensor | None:
        """Return factors of the cross-entropy of each sample ``(B,)``, or None for 1."""
        del step
        return None

    def view(self, step: Step) -> View | None:
        """Return another input to run; its logits are then in ``step.views[self.name]``."""
        del step
        return None

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return the terms added to the loss by name, each a scalar at its final scale."""
        del step
        return {}
