from .fixed import fixed_placement as fixed_placement
from .instances import locate_instances as locate_instances
from .placement import Placement as Placement
from .placement import locate as locate
from .placement import locate_features as locate_features
from .views import SeenView as SeenView
from .views import View as View
from .views import ViewEvidence as ViewEvidence

__all__ = [
    "Placement",
    "SeenView",
    "View",
    "ViewEvidence",
    "fixed_placement",
    "locate",
    "locate_features",
    "locate_instances",
]
