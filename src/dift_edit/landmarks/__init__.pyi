from .annotate import Carried as Carried
from .annotate import LabelCarrier as LabelCarrier
from .annotate import SourceLabels as SourceLabels
from .matcher import LandmarkMatcher as LandmarkMatcher
from .matcher import Landmarks as Landmarks

__all__ = ["Carried", "LabelCarrier", "LandmarkMatcher", "Landmarks", "SourceLabels"]
