"""Train and compare: ``python run.py method=xbl dataset=cifar``, or with ``-m`` a whole comparison.

``python run.py --help`` lists the groups and choices. Exit codes: 0 done, 1 a run failed, 2 the request can't work.
"""

import os
import sys
import traceback

ASKED_FOR_TRACEBACK = bool(os.environ.get("XFEEDBACK_TRACEBACK") or os.environ.get("HYDRA_FULL_ERROR"))
os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then leaves errors to main(), which shows one line

import hydra  # noqa: E402
from hydra.errors import HydraException  # noqa: E402
from omegaconf import DictConfig  # noqa: E402
from omegaconf.errors import OmegaConfBaseException  # noqa: E402

from xfeedback.errors import TrainingError, UserError  # noqa: E402


@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def cell(config: DictConfig) -> int:
    """Run one cell and return its exit code."""
    from xfeedback.builder import run_cell

    return run_cell(config)


def main() -> None:
    """Run the command line; a mistake ends it with one line and exit code 2."""
    try:
        cell()
    except (UserError, TrainingError) as error:
        _stop(str(error), error.exit_code)
    except (HydraException, OmegaConfBaseException) as error:
        from xfeedback.builder import explain

        _stop(explain(error), 2)
    except KeyboardInterrupt:
        _stop("interrupted; the same command resumes where it stood", 130)


def _stop(message: str, code: int) -> None:
    if ASKED_FOR_TRACEBACK:
        traceback.print_exc()
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
