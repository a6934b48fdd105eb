"""Point correspondences between feature maps.

The placement of an edit does not rest on these matches: it gathers votes of its own (`dift_edit.placement`).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
