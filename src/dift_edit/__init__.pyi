from . import evaluation as evaluation
from . import viz as viz
from ._version import __version__ as __version__
from .batch import ModelSpec as ModelSpec
from .batch import Summary as Summary
from .batch import propagate as propagate
from .batch import run_batch as run_batch
from .batch import run_job as run_job
from .clips.io import open_clip as open_clip
from .clips.io import open_writer as open_writer
from .clips.job import process_clip as process_clip
from .clips.labels import propagate_keypoints as propagate_keypoints
from .clips.labels import propagate_labels as propagate_labels
from .clips.labels_job import process_keypoints as process_keypoints
from .clips.labels_job import process_labels as process_labels
from .clips.sequence import FrameTransfer as FrameTransfer
from .clips.sequence import propagate_sequence as propagate_sequence
from .clips.sequence import render_sequence as render_sequence
from .clips.sequence import track_sequence as track_sequence
from .clips.tracking.settings import SequenceSettings as SequenceSettings
from .clips.tracking.track import SequenceTrack as SequenceTrack
from .edits import ColorAdjust as ColorAdjust
from .edits import CubeLut as CubeLut
from .edits import Edit as Edit
from .edits import Erase as Erase
from .edits import Keypoints as Keypoints
from .edits import LabelLayer as LabelLayer
from .edits import Layers as Layers
from .edits import PaintLayer as PaintLayer
from .edits import Polygon as Polygon
from .edits import Redaction as Redaction
from .edits import Region as Region
from .edits import Sticker as Sticker
from .edits import edit_from_difference as edit_from_difference
from .edits import labels_from_coco as labels_from_coco
from .edits import labels_to_coco as labels_to_coco
from .edits import load_edit as load_edit
from .edits import save_edit as save_edit
from .errors import DiftEditError as DiftEditError
from .features.base import FeatureMap as FeatureMap
from .features.base import Featurizer as Featurizer
from .features.cache import CachedFeaturizer as CachedFeaturizer
from .features.cache import FeatureCache as FeatureCache
from .features.cache import fit_pca as fit_pca
from .features.fusion import FusedFeaturizer as FusedFeaturizer
from .features.registry import load_featurizer as load_featurizer
from .imaging.files import load_image as load_image
from .imaging.files import save_image as save_image
from .imaging.image import Image as Image
from .imaging.image import as_image as as_image
from .imaging.image import image_digest as image_digest
from .job.recipe import Job as Job
from .job.recipe import load_job as load_job
from .job.recipe import save_job as save_job
from .matching.points import MatchSettings as MatchSettings
from .matching.points import PointMatcher as PointMatcher
from .matching.points import PointMatches as PointMatches
from .matching.points import cycle_error as cycle_error
from .matching.points import match_dense as match_dense
from .matching.points import match_mutual as match_mutual
from .matching.points import match_points as match_points
from .matching.points import similarity_map as similarity_map
from .pipeline import Transfer as Transfer
from .pipeline import transfer as transfer
from .placement.instances import locate_best_view as locate_best_view
from .placement.instances import locate_instances as locate_instances
from .placement.placement import Placement as Placement
from .placement.placement import locate as locate
from .rendering.compositing import Compositing as Compositing
from .rendering.compositing import alpha_over as alpha_over
from .rendering.warp import warp_image as warp_image
from .settings import BatchSettings as BatchSettings
from .settings import TransferSettings as TransferSettings
from .targets.collect import collect_targets as collect_targets

__all__ = [
    "BatchSettings",
    "CachedFeaturizer",
    "ColorAdjust",
    "Compositing",
    "CubeLut",
    "DiftEditError",
    "Edit",
    "Erase",
    "FeatureCache",
    "FeatureMap",
    "Featurizer",
    "FrameTransfer",
    "FusedFeaturizer",
    "Image",
    "Job",
    "Keypoints",
    "LabelLayer",
    "Layers",
    "MatchSettings",
    "ModelSpec",
    "PaintLayer",
    "Placement",
    "PointMatcher",
    "PointMatches",
    "Polygon",
    "Redaction",
    "Region",
    "SequenceSettings",
    "SequenceTrack",
    "Sticker",
    "Summary",
    "Transfer",
    "TransferSettings",
    "__version__",
    "alpha_over",
    "as_image",
    "collect_targets",
    "cycle_error",
    "edit_from_difference",
    "evaluation",
    "fit_pca",
    "image_digest",
    "labels_from_coco",
    "labels_to_coco",
    "load_edit",
    "load_featurizer",
    "load_image",
    "load_job",
    "locate",
    "locate_best_view",
    "locate_instances",
    "match_dense",
    "match_mutual",
    "match_points",
    "open_clip",
    "open_writer",
    "process_clip",
    "process_keypoints",
    "process_labels",
    "propagate",
    "propagate_keypoints",
    "propagate_labels",
    "propagate_sequence",
    "render_sequence",
    "run_batch",
    "run_job",
    "save_edit",
    "save_image",
    "save_job",
    "similarity_map",
    "track_sequence",
    "transfer",
    "viz",
    "warp_image",
]
