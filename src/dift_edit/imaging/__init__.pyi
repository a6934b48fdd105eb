from .compare import Untouched as Untouched
from .compare import compare_outside as compare_outside
from .files import as_image as as_image
from .files import load_image as load_image
from .image import FileInfo as FileInfo
from .image import Image as Image
from .image import image_digest as image_digest
from .layered import ImageLayer as ImageLayer
from .layered import LayeredImage as LayeredImage
from .writing import save_image as save_image

__all__ = [
    "FileInfo",
    "Image",
    "ImageLayer",
    "LayeredImage",
    "Untouched",
    "as_image",
    "compare_outside",
    "image_digest",
    "load_image",
    "save_image",
]
