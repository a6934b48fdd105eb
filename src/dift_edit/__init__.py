"""Edit one photo, get the edit on all of them."""

import importlib
from typing import TYPE_CHECKING, Any

from dift_edit._version import __version__
from dift_edit.errors import DiftEditError

if TYPE_CHECKING:
    from dift_edit import evaluation, viz
    from dift_edit.batch import ModelSpec, Summary, propagate, run_batch, run_job
    from dift_edit.cache import CachedFeaturizer, FeatureCache, fit_pca
    from dift_edit.clip_job import process_clip
    from dift_edit.clip_labels import process_keypoints, process_labels
    from dift_edit.compositing import Compositing, alpha_over
    from dift_edit.edits import (
        ColorAdjust,
        CubeLut,
        Edit,
        Erase,
        Keypoints,
        LabelLayer,
        Layers,
        PaintLayer,
        Polygon,
        Redaction,
        Region,
        Sticker,
        edit_from_difference,
        labels_from_coco,
        labels_to_coco,
        load_edit,
        save_edit,
    )
    from dift_edit.features.base import FeatureMap, Featurizer
    from dift_edit.features.fusion import FusedFeaturizer
    from dift_edit.features.registry import load_featurizer
    from dift_edit.image import Image, as_image, image_digest
    from dift_edit.image_io import load_image, save_image
    from dift_edit.instances import locate_best_view, locate_instances
    from dift_edit.label_propagation import propagate_keypoints, propagate_labels
    from dift_edit.matching import (
        MatchSettings,
        PointMatcher,
        PointMatches,
        cycle_error,
        match_dense,
        match_mutual,
        match_points,
        similarity_map,
    )
    from dift_edit.pipeline import Transfer, transfer
    from dift_edit.placement import Placement, locate
    from dift_edit.recipe import Job, load_job, save_job
    from dift_edit.sequence import FrameTransfer, propagate_sequence, render_sequence, track_sequence
    from dift_edit.settings import BatchSettings, TransferSettings
    from dift_edit.targets import collect_targets
    from dift_edit.tracking.settings import SequenceSettings
    from dift_edit.tracking.track import SequenceTrack
    from dift_edit.video_io import open_clip, open_writer
    from dift_edit.warp import warp_image

_HOMES = {
    "batch": ["ModelSpec", "Summary", "propagate", "run_batch", "run_job"],
    "cache": ["CachedFeaturizer", "FeatureCache", "fit_pca"],
    "clip_job": ["process_clip"],
    "clip_labels": ["process_keypoints", "process_labels"],
    "compositing": ["Compositing", "alpha_over"],
    "edits": [
        "ColorAdjust",
        "CubeLut",
        "Edit",
        "Erase",
        "Keypoints",
        "LabelLayer",
        "Layers",
        "PaintLayer",
        "Polygon",
        "Redaction",
        "Region",
        "Sticker",
        "edit_from_difference",
        "labels_from_coco",
        "labels_to_coco",
        "load_edit",
        "save_edit",
    ],
    "features.base": ["FeatureMap", "Featurizer"],
    "features.fusion": ["FusedFeaturizer"],
    "features.registry": ["load_featurizer"],
    "image": ["Image", "as_image", "image_digest"],
    "image_io": ["load_image", "save_image"],
    "instances": ["locate_best_view", "locate_instances"],
    "label_propagation": ["propagate_keypoints", "propagate_labels"],
    "matching": [
        "MatchSettings",
        "PointMatcher",
        "PointMatches",
        "cycle_error",
        "match_dense",
        "match_mutual",
        "match_points",
        "similarity_map",
    ],
    "pipeline": ["Transfer", "transfer"],
    "placement": ["Placement", "locate"],
    "recipe": ["Job", "load_job", "save_job"],
    "sequence": ["FrameTransfer", "propagate_sequence", "render_sequence", "track_sequence"],
    "settings": ["BatchSettings", "TransferSettings"],
    "targets": ["collect_targets"],
    "tracking.settings": ["SequenceSettings"],
    "tracking.track": ["SequenceTrack"],
    "video_io": ["open_clip", "open_writer"],
    "warp": ["warp_image"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

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


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that ``import dift_edit`` is quick."""
    if name in ("evaluation", "viz"):
        return importlib.import_module(f"dift_edit.{name}")
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"dift_edit.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'dift_edit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
