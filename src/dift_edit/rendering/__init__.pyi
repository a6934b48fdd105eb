from .compositing import Compositing as Compositing
from .compositing import alpha_over as alpha_over
from .warp import Warped as Warped
from .warp import warp_image as warp_image

__all__ = [
    "Compositing",
    "Warped",
    "alpha_over",
    "warp_image",
]
