"""DICOM files of single grey pictures, such as radiographs; read by pydicom, an optional dependency."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfeedback.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".dcm", ".dicom")


def picture(path: Path) -> "Image.Image":
    """Return the picture of a file as a PIL image in grey (``L``).

    The upper 8 of the stored bits count; ``MONOCHROME1``, in which 0 is white, is inverted. Windows and other display
    values that the file may hold are not applied, so that equal levels stay equal across files.

    Raises:
        UserError: pydicom is not installed, the file can't be read, or it is no single grey picture.
    """
    from PIL import Image

    pixels, header = _read(path)
    if pixels.ndim != 2 or int(header.get("PixelRepresentation", 0)) != 0:
        shape = "x".join(map(str, pixels.shape))
        raise UserError(f"{path} is no single grey picture of unsigned levels: its pixels are {shape} {pixels.dtype}.")
    spare = int(header.BitsStored) - 8
    levels = (pixels >> spare if spare >= 0 else pixels << -spare).astype(np.uint8)
    return Image.fromarray(255 - levels if header.PhotometricInterpretation == "MONOCHROME1" else levels)


def _read(path: Path) -> tuple[np.ndarray[Any, Any], Any]:
    """The stored pixels and the file's elements, without pydicom's warnings: what matters of them is an error."""
    try:
        import pydicom
    except ImportError as error:
        raise UserError(f"{path} is a DICOM file, and reading it needs pydicom: pip install pydicom") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path)
            return header.pixel_array, header
    except Exception as error:  # decoders raise whatever the libraries behind them do
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"cannot read the image {path}: {reason}.") from error
