"""What a trained network must be given, and what its answers mean: small enough to stand beside its weights."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from xfeedback import files
from xfeedback.config import from_mapping, require
from xfeedback.kinds import Kind

if TYPE_CHECKING:
    from xfeedback.data.task import Task

FILE = "inputs.json"
"""Its name in a run's folder."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs and classes of a trained network.

    Attributes:
        kind: what the inputs are.
        in_shape: of one input: ``(C, H, W)``, ``(T, F)`` or ``(L,)``.
        class_names: one per class.
        mean, std: of the normalisation, per channel of images in [0, 1] or per feature of series; empty for texts.
        vocabulary: the token of each id of texts; id 0 is padding.
    """

    kind: Kind
    in_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        axes = {"image": 3, "series": 2, "text": 1}[self.kind]
        good = len(self.in_shape) == axes and min(self.in_shape, default=0) > 0
        require(good, "in_shape", list(self.in_shape), f"{axes} sizes above 0 for kind={self.kind}")
        require(len(self.class_names) > 0, "class_names", [], "a list of names")
        require(len(self.mean) == len(self.std), "std", list(self.std), "a list as long as mean")

    @classmethod
    def of(cls, task: "Task") -> Self:
        """Return those of a task."""
        return cls(
            kind=task.kind,
            in_shape=task.in_shape,
            class_names=task.class_names,
            mean=task.mean,
            std=task.std,
            vocabulary=task.vocabulary,
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read them from a file.

        Raises:
            UserError: it is damaged.
        """
        return from_mapping(cls, files.read_record(path), path.name)

    def plain(self) -> dict[str, Any]:
        """Return them as plain values; :meth:`read` reads them back."""
        return asdict(self)
