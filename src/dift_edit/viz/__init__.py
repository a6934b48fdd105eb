"""Pictures for people: matches, heat maps, meshes, before and after, contact sheets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
