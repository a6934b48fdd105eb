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
]
