"""Read what wandb wrote offline with wandb's own reader, ``wandb leet inspect``."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRIPT = "from wandb.cli.cli import cli; cli()"


@dataclass
class Offline:
    """What an offline file holds.

    Attributes:
        run: the record that names it.
        config: options.
        history: a mapping for each logged step.
        summary: the last word on each figure.
        metrics: how each figure is to be summed up, by its name.
        kinds: of all records.
        files: what of the part's ``files/`` is sent, by path.
    """

    run: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)

    def table(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a logged table."""
        (path,) = (path for file, path in self.files.items() if file.startswith(f"media/table/{name}_"))
        found = json.loads(path.read_text())
        return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


def read_offline(path: Path) -> Offline:
    """Return what one ``.wandb`` file holds, and the files beside it that it names."""
    command = [sys.executable, "-c", SCRIPT, "leet", "inspect", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = Offline()
    for line in done.stdout.splitlines():
        record = json.loads(line)
        kind = record["type"]
        content = record[kind]
        found.kinds.append(kind)
        match kind:
            case "run":
                found.run = content
                found.config |= content["config"]["update"]
            case "config":
                found.config |= content["update"]
            case "history":
                found.history.append(content["item"])
            case "summary":
                found.summary |= content.get("update", {})
            case "metric":
                found.metrics[content.get("name") or content["glob_name"]] = content
            case "files":
                found.files |= {file["path"]: path.parent / "files" / file["path"] for file in content["files"]}
    return found
