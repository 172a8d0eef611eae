"""Run the seeds of a cell as one program: the same folders as of single runs."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from xfeedback.engine import console, provenance
from xfeedback.engine.folder import BusyError, RunFolder
from xfeedback.engine.memory import keep_freed_memory
from xfeedback.engine.result import measure
from xfeedback.engine.run import Outcome, build_module, going_on, load_task, one_line
from xfeedback.engine.spec import RunSpec
from xfeedback.engine.stacked.fit import Member, StackedTraining
from xfeedback.engine.stacked.layers import CannotStackError
from xfeedback.engine.stacked.refusals import refuse_data, refuse_modules, refuse_options
from xfeedback.engine.train import Trained, check_devices, selection_metric
from xfeedback.errors import Preempted

TRIED = 4
"""Samples of each seed that a stack is tried out on."""


def run_stack(specs: Sequence[RunSpec]) -> list[Outcome]:
    """Run cells that differ in the seed alone as one program and return how each ended, in order.

    A seed that fails, during training or after it, is recorded as failed and the others go on. Those that another
    process is at work on are left to it.

    Raises:
        CannotStackError: they can't be trained as one; nothing has been written.
        UserError: they can't be started as asked for; likewise.
    """
    refuse_options(specs[0])
    finished = {spec.run: RunFolder(spec).result() for spec in specs}
    wanted = [spec for spec in specs if spec.force or finished[spec.run] is None]
    members, device = _members(wanted), _device(specs[0])
    outcomes = {spec.run: _ended("skipped", spec, record) for spec in specs if (record := finished[spec.run])}
    with ExitStack() as locks:
        held = []
        for member in members:
            try:
                if finished[member.spec.run] is not None:
                    member.folder.set_aside()
                taken_up = going_on(member.folder, member.task, "stack-*.ckpt")
                locks.enter_context(member.folder.opened())
            except BusyError:
                outcomes[member.spec.run] = _ended("busy", member.spec, {})
                continue
            if finished[member.spec.run] is None and (meanwhile := member.folder.result()) is not None:
                outcomes[member.spec.run] = _ended("skipped", member.spec, meanwhile)
            else:
                held.append(replace(member, spec=replace(member.spec, notices=(*member.spec.notices, *taken_up))))
        if len(held) < 2:
            raise CannotStackError("fewer than two seeds are left to train")
        outcomes |= {outcome.folder.name: outcome for outcome in _run(held, device)}
    return [outcomes[spec.run] for spec in specs]


def _members(specs: Sequence[RunSpec]) -> list[Member]:
    """Return the runs, with their data and modules, once it is certain that they can be trained as one."""
    if len(specs) < 2:
        raise CannotStackError("fewer than two seeds are left to train")
    for spec in specs:
        RunFolder(spec).check()
    check_devices(specs[0].trainer)
    if specs[0].trainer.threads is not None:
        torch.set_num_threads(specs[0].trainer.threads)
    if not torch.cuda.is_available():
        keep_freed_memory()
    tasks = [load_task(spec) for spec in specs]
    refuse_data(tasks)
    modules = [build_module(spec, task) for spec, task in zip(specs, tasks, strict=True)]
    loaders = [task.ordered_loader(TRIED, "cpu") for task in tasks]
    refuse_modules(modules, [loader.batch(0, 0).x for loader in loaders])
    found = zip(specs, tasks, modules, strict=True)
    return [Member(spec=spec, folder=RunFolder(spec), task=task, module=module) for spec, task, module in found]


def _device(spec: RunSpec) -> torch.device:
    chosen, cuda = spec.trainer.accelerator, torch.cuda.is_available()
    if chosen != "cpu" and not cuda and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cuda", torch.cuda.current_device()) if chosen != "cpu" and cuda else torch.device("cpu")


def _run(members: Sequence[Member], device: torch.device) -> list[Outcome]:
    started, seeds = time.perf_counter(), [member.spec.seed for member in members]
    for member in members:
        known = provenance.collect(fingerprint=member.task.fingerprint, stamps=member.task.stamps)
        member.folder.begin({**known, "stacked": {"seeds": seeds}})
    note = f"trained as one program with the seeds {', '.join(map(str, seeds))} (execution=vmap): its times are shared"
    console.notes([note, *members[0].module.notes])
    try:
        training = StackedTraining(members, device, selection_metric(members[0].spec, members[0].task))
        trained = training.run()
    except Preempted as stop:
        for member in members:
            member.folder.fail(stop, str(stop))
        raise
    except Exception as error:  # noqa: BLE001 - whatever happens is recorded; the other cells of a sweep go on
        return [_failed(member, error) for member in members]
    shared = {"seconds": (time.perf_counter() - started) / len(members), "step_ms": training.step_ms()}
    return [_measured(member, found, note, shared) for member, found in zip(members, trained, strict=True)]


def _measured(member: Member, trained: Trained | Exception, note: str, shared: dict[str, Any]) -> Outcome:
    """Evaluate a seed and write its result; ``shared``: its part of the seconds, and the time of a step of all."""
    if isinstance(trained, Exception):
        return _failed(member, trained)
    started, spec = time.perf_counter(), replace(member.spec, notices=(*member.spec.notices, note))
    try:
        result = measure(spec, member.task, member.module, trained, member.folder.path)
        seconds = shared["seconds"] + time.perf_counter() - started
        own = {"seconds": round(seconds, 2), "stacked_step_ms": shared["step_ms"]}
        record = member.folder.finish({**result, **own})
    except Exception as error:  # noqa: BLE001 - likewise
        return _failed(member, error)
    said = (*member.module.notes, note)
    return Outcome(status="done", folder=member.folder.path, record=record, said=said)


def _failed(member: Member, error: Exception) -> Outcome:
    record = member.folder.fail(error, one_line(error))
    return Outcome(status="failed", folder=member.folder.path, record=record)


def _ended(status: Any, spec: RunSpec, record: dict[str, Any]) -> Outcome:
    return Outcome(status=status, folder=spec.folder, record=record)
