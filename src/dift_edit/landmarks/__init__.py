"""Landmarks that move each on its own and keep their shape together, and the annotations that follow them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
