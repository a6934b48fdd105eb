"""Features of images: featurizers, their networks and weights, fusion and the cache."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
