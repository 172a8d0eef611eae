"""Read wandb's offline file: its own protocol buffers, in the framing of a LevelDB log."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as messages

HEADER, BLOCK, WHOLE, FIRST, LAST = 7, 32768, 1, 2, 4
"""Bytes before the first record and of each record's head; bytes of a block; kinds of a fragment."""


@dataclass
class Offline:
    """What an offline file holds.

    Attributes:
        run: the record that names it.
        config: options.
        history: a mapping for each logged step.
        summary: the last word on each figure.
        metrics: how each figure is to be summed up, by its name.
    """

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)


def read_offline(path: Path) -> Offline:
    """Return what one ``.wandb`` file holds."""
    found = Offline()
    for content in _contents(path.read_bytes()):
        record = messages.Record.FromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            found.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            found.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            found.history.append({_name(item): json.loads(item.value_json) for item in record.history.item})
        elif kind == "summary":
            found.summary |= {_name(item): json.loads(item.value_json) for item in record.summary.update}
        elif kind == "metric":
            found.metrics[record.metric.name or record.metric.glob_name] = record.metric
    return found


def _name(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def _contents(raw: bytes) -> Iterator[bytes]:
    assert raw[:4] == b":W&B", "no wandb file"
    position, parts = HEADER, []
    while position + HEADER <= len(raw):
        if BLOCK - position % BLOCK < HEADER:  # the rest of a block is too small for a head
            position += BLOCK - position % BLOCK
            continue
        length, kind = struct.unpack("<HB", raw[position + 4 : position + HEADER])
        parts.append(raw[position + HEADER : position + HEADER + length])
        position += HEADER + length
        if kind in (WHOLE, LAST):
            yield b"".join(parts)
            parts = []
