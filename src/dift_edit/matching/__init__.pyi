from .points import DenseMatches as DenseMatches
from .points import MatchSettings as MatchSettings
from .points import MutualMatches as MutualMatches
from .points import PointMatcher as PointMatcher
from .points import PointMatches as PointMatches
from .points import cycle_error as cycle_error
from .points import match_dense as match_dense
from .points import match_mutual as match_mutual
from .points import match_points as match_points
from .points import similarity_map as similarity_map

__all__ = [
    "DenseMatches",
    "MatchSettings",
    "MutualMatches",
    "PointMatcher",
    "PointMatches",
    "cycle_error",
    "match_dense",
    "match_mutual",
    "match_points",
    "similarity_map",
]
