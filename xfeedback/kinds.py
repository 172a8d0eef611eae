"""What inputs are: images, series or texts. Light: importing this module imports neither torch nor numpy."""

from typing import Literal

Kind = Literal["image", "series", "text"]
"""``image``: ``(C, H, W)``, spectrograms too; ``series``: ``(T, F)``; ``text``: ids of tokens ``(L,)``, 0 = padding."""

WORDS: dict[Kind, str] = {"image": "images", "series": "series", "text": "texts"}
"""The kinds in the plural, for messages."""
