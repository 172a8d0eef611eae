"""The LightningModule that hosts any number of feedbacks on one network."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from pytorch_lightning import LightningModule
from torch import Generator, Tensor, nn, optim

from xfeedback.errors import FeedbackWarning, TrainingError, UserError
from xfeedback.feedback.base import Feedback, View
from xfeedback.feedback.meter import Accuracies, Meter
from xfeedback.feedback.optimise import OptimiserConfig, build_optimiser, build_schedule, steps_of
from xfeedback.feedback.step import Step
from xfeedback.models.running import is_compiled
from xfeedback.precision import widened
from xfeedback.seeding import derive, generator
from xfeedback.types import Batch

METER = "train_sums"
"""Where a checkpoint holds the sums of an epoch under way."""


class Feedbacks(nn.ModuleList):
    """The feedbacks of a module in the order in which they act."""

    def __iter__(self) -> Iterator[Feedback]:
        """Yield them, as what they are."""
        return cast("Iterator[Feedback]", super().__iter__())


class FeedbackModule(LightningModule):
    """Train a network on cross-entropy plus what its feedbacks ask for.

    The clean forward pass and each explanation are computed once a step and shared. Every term of the loss is logged
    by its own name and at its final scale as a mean over the epoch, ``train/<feedback>/<term>``, and each feedback's
    strength as ``train/<feedback>/weight``.

    Args:
        network: maps inputs to logits ``(B, N)``.
        feedbacks: in the order in which they change the network; empty for plain training.
        optimiser: optimiser and schedule.
        example: one input ``(1, ...)``, for feedbacks that must look into the network.
        seed: keys all noise of training (dropout, fills).
        channels_last: run 4-D inputs in channels-last memory format.
        val_names: names of the validation loaders, in order.
        balanced: validation accuracy is the mean over the classes that occur.

    Raises:
        UserError: a feedback refuses the network, or looks into one that ``torch.compile`` runs.
    """

    def __init__(
        self,
        network: nn.Module,
        feedbacks: Sequence[Feedback] = (),
        *,
        optimiser: OptimiserConfig | None = None,
        example: Tensor | None = None,
        seed: int = 0,
        channels_last: bool = False,
        val_names: Sequence[str] = ("val",),
        balanced: bool = False,
    ) -> None:
        super().__init__()
        for feedback in sorted(feedbacks, key=lambda f: not f.changes_network):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(derive(seed, "prepare", feedback.name))
                network = feedback.prepare(network, torch.empty(0) if example is None else example)
        looking = [feedback.name for feedback in feedbacks if feedback.layers or not feedback.compiles]
        if looking and is_compiled(network):
            raise UserError(
                f"{looking[0]} looks into the network or takes gradients of gradients, which torch.compile does not "
                "allow: give the network itself, not torch.compile(network)."
            )
        if channels_last:
            network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.network = network
        self.feedbacks = Feedbacks(feedbacks)
        self.optimiser = optimiser or OptimiserConfig()
        self.seed, self.channels_last, self.val_names = seed, channels_last, tuple(val_names)
        self.phase_name = "0"
        self._train, self._val = Meter(), Accuracies(balanced=balanced)
        self._trains: dict[str, bool] = {}
        for note in self.notes:
            warnings.warn(note, FeedbackWarning, stacklevel=2)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know: what feedbacks say of this network, and terms that turned out to train nothing."""
        constant = [name for name, trains in self._trains.items() if not trains]
        said = [note for feedback in self.feedbacks for note in feedback.notes]
        return (*said, *(f"the term {name} has no gradient: it is logged and trains nothing" for name in constant))

    @property
    def stamps(self) -> tuple[str, ...]:
        """What must stand beside every result of these feedbacks."""
        return tuple(stamp for feedback in self.feedbacks for stamp in feedback.stamps)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, N)``."""
        return self.network(self.formatted(x))

    def formatted(self, x: Tensor) -> Tensor:
        """Return ``x`` in the memory format that the network runs in, of the same shape."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last and x.ndim == 4 else x

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Batch:
        """Move what a loader yields (:mod:`xfeedback.batches` lists the forms) to the device as a :class:`Batch`."""
        del dataloader_idx
        whole = Batch.of(batch).to(device, non_blocking=True)
        return whole.contiguous(torch.channels_last) if self.channels_last else whole

    def active(self) -> list[Feedback]:
        """Return the feedbacks that act in the present epoch."""
        return [f for f in self.feedbacks if f.strength(self.current_epoch) > 0]

    @staticmethod
    def due(active: Sequence[Feedback], number: int) -> list[Feedback]:
        """Return those of some feedbacks that act in step ``number`` of an epoch: ``every_n_steps`` of each."""
        return [feedback for feedback in active if number % feedback.config.every_n_steps == 0]

    def on_train_start(self) -> None:
        """Tell every feedback how many steps an epoch has, and of a training that was stopped inside one, in which.

        Lightning does not tell the latter.
        """
        steps = self.trainer.num_training_batches
        for feedback in self.feedbacks:
            feedback.steps_per_epoch = int(steps) if math.isfinite(steps) else None
        if self.trainer.fit_loop.restarted_mid_epoch:
            self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Tell every feedback that an epoch begins."""
        for feedback in self.feedbacks:
            feedback.epoch_start(self.network, self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the total loss of a batch; equation: mean_b w_b CE_b + the sum of the feedbacks' terms.

        Raises:
            TrainingError: the loss is not finite, on a CPU; the weights have not moved. On other devices the end of the
                epoch raises it, since no step waits for the loss.
        """
        position = (self.phase_name, self.global_rank, self.current_epoch, batch_idx)
        step, terms = self.loss_terms(batch, self.active(), position)
        loss = torch.stack(list(terms.values())).sum()
        self._record(step, terms, loss)
        return loss

    def loss_terms(
        self, batch: Batch, active: Sequence[Feedback], position: Sequence[str | int]
    ) -> tuple[Step, dict[str, Tensor]]:
        """Run one step's forward passes and return what it knows and the named terms whose sum is the loss.

        Args:
            batch: on the network's device.
            active: the feedbacks that act, in the steps that are theirs.
            position: where the step stands, ending in epoch and number; keys its noise.
        """
        active = self.due(active, int(position[-1]))
        batch = self.changed(batch, active, position)
        step = Step(
            self.network,
            batch,
            inside=self.inside(batch, active, position),
            seed=self.seed,
            position=position,
            layers=sorted({layer for f in active for layer in f.layers}),
            input_gradient=any(f.input_gradient for f in active),
        )
        return step, self._terms(step, active)

    def changed(self, batch: Batch, active: Sequence[Feedback], position: Sequence[str | int]) -> Batch:
        """Return what the feedbacks make of a batch before the clean pass; arguments as in :meth:`loss_terms`."""
        for feedback in active:
            batch = feedback.change(batch, *self._drawn(batch, position))
        return batch

    def inside(
        self, batch: Batch, active: Sequence[Feedback], position: Sequence[str | int]
    ) -> list[Mapping[str, Callable[[Tensor], Tensor]]]:
        """Return what each feedback makes of layers' outputs in every training pass: :meth:`Feedback.inside`.

        Arguments and shapes as in :meth:`changed`.
        """
        return [feedback.inside(batch, *self._drawn(batch, position)) for feedback in active]

    def _drawn(self, batch: Batch, position: Sequence[str | int]) -> tuple[int, Callable[[str], Generator]]:
        """Return the epoch of a step, and what gives the generators of its changes."""
        epoch, device = int(position[-2]) if len(position) > 1 else 0, batch.y.device
        return epoch, lambda what: generator(device, self.seed, what, *position)

    def _terms(self, step: Step, active: Sequence[Feedback]) -> dict[str, Tensor]:
        losses = step.losses
        for feedback in active:
            if (weights := feedback.sample_weights(step)) is not None:
                losses = losses * weights
            if (view := feedback.view(step)) is not None:
                step.views[feedback.name] = self.run_view(step, feedback.name, view)
        return {"ce": losses.mean()} | self.penalties(step, active)

    def penalties(self, step: Step, active: Sequence[Feedback]) -> dict[str, Tensor]:
        """Return the terms that the feedbacks add to the cross-entropy, by name, once all views have run."""
        terms: dict[str, Tensor] = {}
        for feedback in active:
            own = {f"{feedback.name}/{name}": widened(term) for name, term in feedback.penalty(step).items()}
            for name, term in own.items():
                trains = term.requires_grad or not torch.is_grad_enabled()
                self._trains[name] = self._trains.get(name, False) or trains
            terms |= own
        return terms

    def run_view(self, step: Step, name: str, view: View) -> Tensor:
        """Run a feedback's view and return its logits ``(B, N)``."""
        return step.forward(
            self.formatted(view.x),
            name=name,
            shared_noise=view.shared_noise,
            update_statistics=view.update_statistics,
            changes=view.changes,
            recalls=view.recalls,
        )

    def _record(self, step: Step, terms: Mapping[str, Tensor], loss: Tensor) -> None:
        self._train.add(len(step.batch), {**terms, **step.reports, "loss": loss})
        self._train.add(len(step.batch), {"acc": 100 * (step.logits.argmax(1) == step.batch.y).float().mean()})
        if loss.device.type == "cpu" and not torch.isfinite(loss):
            raise not_finite({**terms, "loss": loss}, f"epoch {self.current_epoch}, step {step.number}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the sums of an epoch under way, so that its means come out the same after a stop."""
        checkpoint[METER] = self._train.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the sums."""
        self._train.restore(checkpoint.get(METER, {}))

    def on_before_optimizer_step(self, optimizer: optim.Optimizer) -> None:
        """Refuse a step whose gradient is not finite before the weights move (on the CPU, where looking is free)."""
        del optimizer
        grads = {name: p.grad for name, p in self.named_parameters() if p.grad is not None and p.device.type == "cpu"}
        if not torch.isfinite(nn.utils.get_total_norm(grads.values())):
            bad = next((name for name, grad in grads.items() if not torch.isfinite(grad).all()), "the weights")
            raise TrainingError(f"the gradient of {bad} is not finite at epoch {self.current_epoch}; lower the weight.")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the epoch's means after its last batch; on an accelerator a loss that was not finite is refused here."""
        del outputs, batch, batch_idx
        if not self.trainer.is_last_batch:
            return
        means = self._train.read()
        if not all(math.isfinite(value) for value in means.values()):
            raise not_finite({k: torch.tensor(v) for k, v in means.items()}, f"epoch {self.current_epoch}")
        figures = {f"train/{name}": value for name, value in means.items()}
        weighted = [f for f in self.active() if f.strength_option is not None]
        figures |= {f"train/{f.name}/weight": f.strength(self.current_epoch) for f in weighted}
        self.log_dict(figures, on_step=False, on_epoch=True, batch_size=1)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count hits on one of the validation sets."""
        del batch_idx
        known = dataloader_idx < len(self.val_names)
        name = self.val_names[dataloader_idx] if known else f"val{dataloader_idx}"
        self._val.add(name, self(batch.x), batch.y)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/<name>``: accuracy in percent on each validation set."""
        self.log_dict({f"val/{name}": float(value) for name, value in self._val.read().items()})

    def configure_optimizers(self) -> Any:
        """Return the optimiser, with its schedule when there is one."""
        optimiser = build_optimiser(self.optimiser, self.parameters())
        if self.optimiser.schedule == "none":
            return optimiser
        schedule = build_schedule(self.optimiser, optimiser, *steps_of(self.trainer, self.optimiser.schedule))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class PresetModule(FeedbackModule):
    """A :class:`FeedbackModule` with one feedback, configured by keyword: what each paper's LightningModule is."""

    feedback_class: ClassVar[type[Feedback]]

    def __init__(self, network: nn.Module, *, feedback: Feedback | None = None, **options: Any) -> None:
        host = {key: options.pop(key) for key in _HOST_OPTIONS if key in options}
        super().__init__(network, [feedback or self.feedback_class.with_options(**options)], **host)


_HOST_OPTIONS = ("optimiser", "example", "seed", "channels_last", "val_names", "balanced")


def not_finite(terms: Mapping[str, Tensor], where: str) -> TrainingError:
    """Return the error of a training whose loss is not finite; ``terms``, of any shape, hold a value that is not."""
    bad = next(name for name, value in terms.items() if not torch.isfinite(value).all())
    return TrainingError(f"the loss is not finite at {where}: term '{bad}'. Lower optimiser.lr or the term's weight.")
