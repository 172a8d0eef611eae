"""Names for NumPy arrays by what they hold; their shapes stand in the docstrings of what takes and returns them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Of any type: what a file holds, or arrays of several types by name."""
Bools = NDArray[np.bool_]
"""Masks, and which samples are meant."""
Ints = NDArray[np.integer]
"""Labels, positions, rows and samples of sound, of any width."""
Bytes = NDArray[np.uint8]
"""Pixels."""
Floats = NDArray[np.floating]
"""Values of any precision."""
