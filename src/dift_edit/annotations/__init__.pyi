from .files import annotation_format as annotation_format
from .files import read_annotations as read_annotations
from .files import write_annotations as write_annotations
from .landmark_pairs import read_landmark_pairs as read_landmark_pairs
from .landmark_pairs import write_landmark_pairs as write_landmark_pairs
from .model import AnnotatedImage as AnnotatedImage
from .model import AnnotatedObject as AnnotatedObject
from .model import Annotations as Annotations
from .model import Category as Category
from .model import Curve as Curve
from .model import Keypoint as Keypoint
from .model import ObjectMask as ObjectMask
from .model import Outline as Outline

__all__ = [
    "AnnotatedImage",
    "AnnotatedObject",
    "Annotations",
    "Category",
    "Curve",
    "Keypoint",
    "ObjectMask",
    "Outline",
    "annotation_format",
    "read_annotations",
    "read_landmark_pairs",
    "write_annotations",
    "write_landmark_pairs",
]
