"""Write the three files of a new method: ``python scripts/new_method.py NAME``.

They hold a small working example, an L2 penalty on the input gradient, that passes the contract of every method at
once; docs/add_a_method.md says what to change. Nothing that exists is overwritten; a name that can't be used ends with
exit code 2.
"""

import keyword
import re
import sys
from pathlib import Path
from string import Template

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from xfeedback import files, methods  # noqa: E402
from xfeedback.errors import UserError  # noqa: E402

METHOD = Template('''"""$title: say here in one line what is compared with what, and where it acts (Authors year).

Equations (1) and (2): `docs/methods/$name.md`.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xfeedback.config import require
from xfeedback.feedback import Feedback, FeedbackConfig, PresetModule, Step


@dataclass(frozen=True, kw_only=True)
class ${title}Config(FeedbackConfig):
    """Options of $title.

    Attributes:
        weight: factor of the penalty.
    """

    weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weight >= 0, "weight", self.weight, "0 or more")


class ${title}Feedback(Feedback[${title}Config]):
    """Penalise the squared input gradient of the label's logit."""

    name = "$name"
    Config = ${title}Config
    strength_option = "weight"
    input_gradient = True

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"gradient": weight * mean_b sum_d g_bd^2}``; equations (1) and (2)."""
        grad = step.input_gradient("logit", step.batch.y, "true", create_graph=True)
        return {"gradient": self.strength(step.epoch) * squared_length(grad)}


class $title(PresetModule):
    """LightningModule for $title."""

    feedback_class: ClassVar[type[Feedback]] = ${title}Feedback


def squared_length(gradient: Tensor) -> Tensor:
    """Return mean_b sum_d g_bd^2, a scalar, from g ``(B, ...)``; equation (2)."""
    return gradient.flatten(1).square().sum(1).mean()
''')

CONFIG = Template("""# $title (Authors year): what it does in one line.
$name:
  weight: 0.1  # factor of the penalty
  warmup_epochs: 0
  ramp_epochs: 0
  every_n_steps: 1
""")

TEST = Template(r'''"""What is particular to $title; the contract of every method is in `test_contract.py`."""

import pytest
import torch
from torch import nn

from xfeedback.feedback import Step
from xfeedback.methods.$name import ${title}Config, ${title}Feedback
from xfeedback.types import Batch


def test_penalty_of_a_linear_network_is_the_squared_length_of_the_labels_weights():
    """Rows (1, 2) and (3, 0): lengths 5 and 9; labels 0, 1, 1 give (5 + 9 + 9) / 3."""
    network = nn.Linear(2, 2)
    network.weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    batch = Batch(x=torch.rand(3, 2), y=torch.tensor([0, 1, 1]), index=torch.arange(3))
    step = Step(network, batch, seed=0, position=("0", 0, 0, 0), input_gradient=True)
    found = ${title}Feedback(${title}Config(weight=0.5)).penalty(step)["gradient"]
    assert found.item() == pytest.approx(0.5 * 23 / 3)


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match=r"weight=-1\.0 must be 0 or more"):
        ${title}Config(weight=-1.0)
''')


def create(name: str, root: Path = ROOT) -> list[Path]:
    """Write the three files under ``root`` and return their paths.

    Raises:
        UserError: the name can't be used, or one of the files exists; nothing has been written.
    """
    title = _checked(name)
    contents = {
        root / "xfeedback" / "methods" / f"{name}.py": METHOD,
        root / "conf" / "method" / f"{name}.yaml": CONFIG,
        root / "tests" / "methods" / f"test_{name}.py": TEST,
    }
    for path in contents:
        if path.exists():
            raise UserError(f"{path.relative_to(root)} exists; choose another name or remove it first.")
    if hasattr(methods, name) or hasattr(methods, title):
        raise UserError(f"'{name}' or '{title}' has a meaning in xfeedback.methods already; choose another name.")
    for path, template in contents.items():
        files.write_text(path, template.substitute(name=name, title=title))
    return list(contents)


def _checked(name: str) -> str:
    """Return the class name that belongs to ``name``."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise UserError(
            f"'{name}' can't name a method: use small letters, digits and single underscores, like my_method."
        )
    if name in methods.names():
        raise UserError(f"there is a method '{name}' already; choose another name.")
    return "".join(part.capitalize() for part in name.split("_"))


def main() -> None:
    """Run the command line."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.stderr.write("usage: python scripts/new_method.py NAME    (docs/add_a_method.md)\n")
        raise SystemExit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    try:
        written = create(sys.argv[1])
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from error
    for path in written:
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    sys.stdout.write(f"try: make test ARGS='-k {sys.argv[1]}'; python run.py method={sys.argv[1]}\n")


if __name__ == "__main__":
    main()
