"""What is carried from the source to the targets."""

from dift_edit.edits.base import Edit, as_quad, check_edit
from dift_edit.edits.difference import PaintLayer, edit_from_difference
from dift_edit.edits.sticker import Sticker

__all__ = ["Edit", "PaintLayer", "Sticker", "as_quad", "check_edit", "edit_from_difference"]
