"""Run one cell: skip it when it is finished, resume it where it stood, record what came out or why not."""

import errno
import os
import time
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from xfeedback import data, methods, models
from xfeedback.continual.arrange import arrange
from xfeedback.continual.ewc import EwcFeedback
from xfeedback.continual.phases import AUDIT, AUDITS
from xfeedback.data.task import Task
from xfeedback.engine import console, provenance
from xfeedback.engine.callbacks import StepTimer
from xfeedback.engine.equal_time import lengthened
from xfeedback.engine.folder import BusyError, RunFolder
from xfeedback.engine.loggers import Guarded, build_logger
from xfeedback.engine.memory import keep_freed_memory
from xfeedback.engine.phases import fit
from xfeedback.engine.result import measure
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.train import check_devices, selection_metric, use_threads
from xfeedback.errors import FeedbackWarning, Preempted, TrainingError, UserError
from xfeedback.feedback import Feedback, FeedbackModule
from xfeedback.tracking import installed


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: ``done``, ``skipped`` (it was finished before), ``busy`` (another process is at work), or ``failed``.
        folder: the run folder.
        record: what ``result.json`` or ``error.json`` holds.
        said: those of its notes that were shown before training.
    """

    status: Literal["done", "skipped", "busy", "failed"]
    folder: Path
    record: dict[str, Any]
    said: tuple[str, ...] = ()


def run_experiment(spec: RunSpec) -> Outcome:
    """Run one cell and return how it ended; a failure during training is an outcome, not an exception.

    Raises:
        UserError: it can't be started as asked for; nothing has been trained, and what was there stays.
    """
    folder = RunFolder(spec)
    done = folder.result()
    if done is not None and not spec.force:
        return Outcome(status="skipped", folder=folder.path, record=done)
    folder.check()
    installed.check(spec.logger.name)
    check_devices(spec.trainer)
    use_threads(spec.trainer)
    if not torch.cuda.is_available():
        keep_freed_memory()
    task = load_task(spec)
    module = build_module(spec, task)
    said = module.notes
    metric = selection_metric(spec, task)
    if not is_main_process():
        return _run(spec, folder, task, module, metric)
    if done is not None:
        folder.set_aside()
    taken_up = going_on(folder, task)
    spec, said = replace(spec, notices=(*spec.notices, *taken_up)), (*said, *taken_up)
    with folder.opened():
        if done is None and (meanwhile := folder.result()) is not None:
            return Outcome(status="skipped", folder=folder.path, record=meanwhile)
        console.notes(said)
        return replace(_run(spec, folder, task, module, metric), said=said)


def going_on(folder: RunFolder, task: Task, pattern: str = "epoch-*.ckpt") -> tuple[str, ...]:
    """Set a state aside that was trained on other data, and return what must be known of one that is taken up.

    Args:
        folder: the run's.
        task: its data as they are now.
        pattern: of the checkpoints that hold such a state.

    Raises:
        UserError: it can't be set aside, or what is known of it is damaged.
        BusyError: another process is at work on the run.
    """
    begun = folder.begun_with(pattern)
    if begun is None:
        return ()
    if begun.get("data", {}).get("fingerprint", task.fingerprint) != task.fingerprint:
        kept = folder.set_aside()
        return (f"begun anew, as the data have changed; what was trained on the former ones is kept in {kept}",)
    then, now = begun.get("git", {}).get("commit"), provenance.commit()
    return (f"begun at commit {then[:12]}, gone on with at {now[:12]}",) if then and now and then != now else ()


def refused(spec: RunSpec, error: Exception) -> Outcome:
    """Record a cell of a sweep that could not be started; another process's run is left alone."""
    folder = RunFolder(spec)
    if isinstance(error, BusyError):
        return Outcome(status="busy", folder=folder.path, record={})
    record = folder.failure if folder.result() else folder.fail
    return Outcome(status="failed", folder=folder.path, record=record(error, one_line(error)))


def load_task(spec: RunSpec) -> Task:
    """Load the data set with its decoys, annotations, and what its phases set aside.

    Raises:
        UserError: among others, no training sample has the annotation that a method needs, or evaluation on validation
            data is asked for and there are none.
    """
    paths = spec.paths
    task = data.load(
        spec.dataset,
        spec.decoy,
        seed=spec.seed,
        root=Path(paths.data),
        extra_roots=[Path(extra) for extra in paths.shared_data],
        cache=Path(paths.cache),
        arrange=partial(arrange, spec.phases),
    )
    if spec.trainer.select_on in AUDITS:
        where = "the test set" if spec.trainer.select_on == "test" else "the next slice"
        task = replace(task, stamps=(*task.stamps, f"audit: weights selected on {where}"))
    _refuse_unannotated(spec, task)
    return task.on_validation() if spec.evaluation.split == "validation" else task


def _refuse_unannotated(spec: RunSpec, task: Task) -> None:
    """Refuse a method that would have nothing to learn from: it would train as plain, under its own name."""
    marked = [part.annotated for part in (task.train, task.pool) if part is not None and part.annotated is not None]
    if marked and spec.needs_annotation() and not any(bool(flags.any()) for flags in marked):
        raise UserError(
            f"method={spec.method} needs annotations, and not one of the {len(task.train)} training samples of "
            f"{task.name} has one. Annotate some, or choose method=plain."
        )


def build_module(spec: RunSpec, task: Task) -> FeedbackModule:
    """Build the network and put the methods' feedbacks on it: one method's own LightningModule, or the common host."""
    inputs: dict[str, Any] = {"kind": task.kind, "vocabulary": task.vocabulary}
    network = models.build(spec.model, task.in_shape, task.n_classes, spec.seed, **inputs)
    feedbacks: list[Feedback] = [methods.feedback_class(name)(config) for name, config in spec.methods.items()]
    if spec.continual is not None:
        feedbacks.append(EwcFeedback(spec.continual))
    audited = spec.trainer.select_on in AUDITS
    host: dict[str, Any] = {
        "optimiser": lengthened(spec).optimiser,
        "example": models.example(task.in_shape, task.kind),
        "seed": spec.seed,
        "channels_last": spec.trainer.channels_last,
        "val_names": [*task.val_loaders(spec.evaluation.batch_size, "cpu"), *([AUDIT] if audited else [])],
        "balanced": task.balanced_accuracy,
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FeedbackWarning)  # shown and recorded as notes
        if len(feedbacks) == 1:
            return methods.module_class(feedbacks[0].name)(network, feedback=feedbacks[0], **host)
        return FeedbackModule(network, feedbacks, **host)


def is_main_process() -> bool:
    """Whether this is the process that writes, of those that train together."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def _run(spec: RunSpec, folder: RunFolder, task: Task, module: FeedbackModule, metric: str | None) -> Outcome:
    started = time.perf_counter()
    if is_main_process():
        folder.begin(provenance.collect(fingerprint=task.fingerprint, stamps=task.stamps))
    logger = build_logger(spec) if is_main_process() else None
    try:
        timer = StepTimer()
        trained = fit(lengthened(spec), folder, task, module, metric=metric, timer=timer, logger=logger)
        if not is_main_process():
            return Outcome(status="done", folder=folder.path, record={})
        result = measure(spec, task, module, replace(trained, step_ms=timer.median_ms()), folder.path)
        record = folder.finish({**result, "seconds": round(time.perf_counter() - started, 2)})
    except Preempted as stop:
        folder.fail(stop, str(stop))
        raise
    except Exception as error:  # noqa: BLE001 - whatever happens is recorded; the other cells of a sweep go on
        return Outcome(status="failed", folder=folder.path, record=folder.fail(error, one_line(error)))
    finally:
        _close(logger, folder)
    return Outcome(status="done", folder=folder.path, record=record)


def _close(logger: Guarded | None, folder: RunFolder) -> None:
    if logger is not None:
        logger.close(folder.result(), folder.path)


def one_line(error: BaseException) -> str:
    """Return what went wrong in a run, as a person reads it."""
    line = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, TrainingError | UserError):
        return line
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else " while writing to the run folder"
        return f"no space{where}: {error.strerror}. Free some, or choose paths.outputs=FOLDER; run again to resume."
    if "out of memory" in line.lower():
        return f"{line} Lower trainer.batch_size or use trainer.precision=bf16-mixed."
    return f"{type(error).__name__}: {line} (error.json holds the traceback)"
