"""What can't be trained as one program, and why, in a line each."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xfeedback import methods
from xfeedback.data.task import Task
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.stacked.layers import CannotStackError, stack
from xfeedback.engine.stacked.noise import Noise
from xfeedback.feedback import Feedback, FeedbackModule
from xfeedback.models.running import mode, resting_statistics
from xfeedback.models.torch_bases import DropoutNd, NormBase

NEAR = 1e-2
"""How far outputs of the stack may be from the networks' own, relative to the largest: rounding, in any precision."""


def refuse_options(spec: RunSpec) -> None:
    """Refuse options that need each seed by itself; needs no data.

    Raises:
        CannotStackError: one of them.
    """
    trainer = spec.trainer
    wrong = {
        f"phases={spec.phases.name} trains one phase after the other": spec.phases.count > 1,
        f"continual={spec.continual.name if spec.continual else ''} acts between phases": spec.continual is not None,
        "trainer=ddp already uses several processes": trainer.strategy == "ddp",
        "trainer.gradient_clip needs the norm of each seed's gradient": trainer.gradient_clip is not None,
        "trainer.accumulate takes several batches a step": trainer.accumulate > 1,
        "trainer.precision=16-mixed scales each seed's loss": trainer.precision == "16-mixed",
        "trainer.compile compiles one network": trainer.compile,
        f"logger={spec.logger.name} follows one run at a time": spec.logger.name != "none",
    }
    wrong |= {
        f"method={name} has not been proven to stack": not methods.feedback_class(name).stacks for name in spec.methods
    }
    for reason, holds in wrong.items():
        if holds:
            raise CannotStackError(reason)


def refuse_data(tasks: Sequence[Task]) -> None:
    """Refuse data that does not come in batches of one size, in memory.

    Raises:
        CannotStackError: such data.
    """
    if tasks[0].streamed:
        raise CannotStackError(f"{tasks[0].name} is decoded during training")
    sizes = [(len(task.train), None if task.val is None else len(task.val), len(task.test)) for task in tasks]
    if len(set(sizes)) > 1:
        raise CannotStackError("the seeds' data sets differ in size")


def refuse_modules(modules: Sequence[FeedbackModule], inputs: Sequence[Tensor]) -> None:
    """Refuse modules that can't be stacked, and those of which the stack computes something else, as a trial shows.

    Args:
        modules: of two or more seeds; they stay as they are.
        inputs: some of each one's inputs ``(B, ...)``, on the network's device.

    Raises:
        CannotStackError: they can't.
    """
    if any(value.requires_grad for feedback in modules[0].feedbacks for value in feedback.parameters()):
        raise CannotStackError("a method trains weights of its own")
    norms = any(isinstance(layer, NormBase) for layer in modules[0].network.modules())
    for feedback in modules[0].feedbacks:
        if type(feedback).inside is not Feedback.inside:
            raise CannotStackError(f"method={feedback.name} changes layers' outputs in every pass")
        if norms and feedback.stacks == "without_batch_norm":
            raise CannotStackError(f"method={feedback.name} needs third derivatives, and the network has BatchNorm")
    networks = [copy.deepcopy(module.network) for module in modules]
    try:
        _try(networks, inputs)
    except CannotStackError:
        raise
    except Exception as error:
        line = next(iter(str(error).splitlines()), "")
        raise CannotStackError(f"{type(networks[0]).__name__} can't be run as a stack ({line[:120]})") from error


def _try(networks: Sequence[nn.Module], inputs: Sequence[Tensor]) -> None:
    name, whole = type(networks[0]).__name__, torch.cat(list(inputs))
    stacked = stack(networks, Noise())
    for training in (False, True):
        with torch.no_grad(), mode(stacked, training=training), resting_statistics(stacked):
            _still(stacked)
            before = torch.default_generator.get_state()
            found = stacked(whole)
            if not torch.equal(before, torch.default_generator.get_state()):
                raise CannotStackError(f"{name} draws random numbers outside of dropout layers")
        wanted = []
        for network, own in zip(networks, inputs, strict=True):
            with torch.no_grad(), mode(network, training=training), resting_statistics(network):
                _still(network)
                wanted.append(network(own))
        if not _alike(found, torch.cat(wanted)):
            raise CannotStackError(f"{name} computes something else when its seeds are stacked")


def _alike(found: Tensor, expected: Tensor) -> bool:
    """Whether the stack gives what the networks give, whatever is wrong with one of them included."""
    finite = expected.isfinite()
    if not torch.equal(finite, found.isfinite()) or not finite.any():
        return not finite.any() and not found.isfinite().any()
    return bool((found - expected)[finite].abs().max() <= NEAR * expected[finite].abs().max())


def _still(network: nn.Module) -> None:
    """Let dropout layers drop nothing."""
    for layer in network.modules():
        if isinstance(layer, DropoutNd):
            layer.eval()
