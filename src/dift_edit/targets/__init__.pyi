from .collect import Target as Target
from .collect import Targets as Targets
from .collect import collect_targets as collect_targets
from .hints import Hints as Hints
from .lists import read_target_list as read_target_list

__all__ = [
    "Hints",
    "Target",
    "Targets",
    "collect_targets",
    "read_target_list",
]
