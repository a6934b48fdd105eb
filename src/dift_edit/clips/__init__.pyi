from .io import Clip as Clip
from .io import ClipWriter as ClipWriter
from .io import open_clip as open_clip
from .io import open_writer as open_writer
from .job import ClipReport as ClipReport
from .job import process_clip as process_clip
from .labels.carry import PropagatedLabels as PropagatedLabels
from .labels.carry import propagate_keypoints as propagate_keypoints
from .labels.carry import propagate_labels as propagate_labels
from .labels.settings import PropagationSettings as PropagationSettings
from .labels_job import LabelReport as LabelReport
from .labels_job import process_keypoints as process_keypoints
from .labels_job import process_labels as process_labels
from .sequence import FrameTransfer as FrameTransfer
from .sequence import propagate_sequence as propagate_sequence
from .sequence import render_sequence as render_sequence
from .sequence import track_sequence as track_sequence
from .tracking.settings import SequenceSettings as SequenceSettings
from .tracking.track import Layer as Layer
from .tracking.track import SequenceTrack as SequenceTrack

__all__ = [
    "Clip",
    "ClipReport",
    "ClipWriter",
    "FrameTransfer",
    "LabelReport",
    "Layer",
    "PropagatedLabels",
    "PropagationSettings",
    "SequenceSettings",
    "SequenceTrack",
    "open_clip",
    "open_writer",
    "process_clip",
    "process_keypoints",
    "process_labels",
    "propagate_keypoints",
    "propagate_labels",
    "propagate_sequence",
    "render_sequence",
    "track_sequence",
]
