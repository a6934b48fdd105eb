"""What is carried from the source to the targets."""

from dift_edit.edits.adjust import ColorAdjust
from dift_edit.edits.base import Edit, check_edit
from dift_edit.edits.erase import Erase
from dift_edit.edits.example import PaintLayer, edit_from_difference
from dift_edit.edits.labels import Keypoints, LabelLayer, Polygon
from dift_edit.edits.layers import Layers
from dift_edit.edits.lut import CubeLut
from dift_edit.edits.redaction import Redaction
from dift_edit.edits.region import Region
from dift_edit.edits.region_files import load_region
from dift_edit.edits.stack import layered
from dift_edit.edits.sticker import Sticker
from dift_edit.edits.stored import edit_from_dict, edit_to_dict, load_edit, save_edit
from dift_edit.geometry.quad import as_quad

__all__ = [
    "ColorAdjust",
    "CubeLut",
    "Edit",
    "Erase",
    "Keypoints",
    "LabelLayer",
    "Layers",
    "PaintLayer",
    "Polygon",
    "Redaction",
    "Region",
    "Sticker",
    "as_quad",
    "check_edit",
    "edit_from_difference",
    "edit_from_dict",
    "edit_to_dict",
    "layered",
    "load_edit",
    "load_region",
    "save_edit",
]
