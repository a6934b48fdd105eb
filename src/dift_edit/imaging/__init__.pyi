from .files import as_image as as_image
from .files import load_image as load_image
from .image import FileInfo as FileInfo
from .image import Image as Image
from .image import image_digest as image_digest
from .writing import save_image as save_image

__all__ = [
    "FileInfo",
    "Image",
    "as_image",
    "image_digest",
    "load_image",
    "save_image",
]
