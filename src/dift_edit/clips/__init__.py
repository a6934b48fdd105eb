"""The same edit through a clip: reading, tracking, rendering, labels and keypoints."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
