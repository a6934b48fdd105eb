from .fixed import fixed_placement as fixed_placement
from .instances import locate_best_view as locate_best_view
from .instances import locate_instances as locate_instances
from .placement import Placement as Placement
from .placement import locate as locate
from .placement import locate_features as locate_features

__all__ = [
    "Placement",
    "fixed_placement",
    "locate",
    "locate_best_view",
    "locate_features",
    "locate_instances",
]
