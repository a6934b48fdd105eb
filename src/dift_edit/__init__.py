"""Edit one photo, get the edit on all of them."""

import importlib
from typing import TYPE_CHECKING, Any

from dift_edit._version import __version__
from dift_edit.errors import DiftEditError

if TYPE_CHECKING:
    from dift_edit.features.base import FeatureMap, Featurizer
    from dift_edit.features.registry import load_featurizer
    from dift_edit.image import Image, as_image, image_digest
    from dift_edit.image_io import load_image, save_image
    from dift_edit.placement import Placement, locate

_HOMES = {
    "features.base": ["FeatureMap", "Featurizer"],
    "features.registry": ["load_featurizer"],
    "image": ["Image", "as_image", "image_digest"],
    "image_io": ["load_image", "save_image"],
    "placement": ["Placement", "locate"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DiftEditError",
    "FeatureMap",
    "Featurizer",
    "Image",
    "Placement",
    "__version__",
    "as_image",
    "image_digest",
    "load_featurizer",
    "load_image",
    "locate",
    "save_image",
]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that ``import dift_edit`` is quick."""
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"dift_edit.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'dift_edit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
