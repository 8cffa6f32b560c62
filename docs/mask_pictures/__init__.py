"""The pictures of docs/masking.md."""

from mask_pictures import image, signal, table, text
from mask_pictures.canvas import FIGURES, save

__all__ = ["FIGURES", "image", "save", "signal", "table", "text"]
