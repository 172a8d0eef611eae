"""Which trackers there are, and whether the one asked for is installed; imports none of them."""

from importlib.util import find_spec

from xfeedback.errors import UserError

EXTRA = {"mlflow": "mlflow-skinny"}
"""What to install for a tracker that does not come with xfeedback; the smallest package that writes."""


def check(name: str) -> None:
    """Refuse a tracker that is not installed, before anything is trained.

    Raises:
        UserError: it is not; with the command that installs it.
    """
    if name in EXTRA and find_spec(name) is None:
        raise UserError(
            f"logger={name}: {name} is not installed. `pip install {EXTRA[name]}` installs what writes "
            f"(`pip install {name}` its page too), or choose logger=csv, tensorboard or wandb."
        )
