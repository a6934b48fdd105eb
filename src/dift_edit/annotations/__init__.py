"""Annotations: boxes, outlines, curves, masks and keypoints of things in images, in and out of the usual formats."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
