from . import clips as clips
from . import edits as edits
from . import errors as errors
from . import evaluation as evaluation
from . import features as features
from . import matching as matching
from . import viz as viz
from ._version import __version__ as __version__
from .batch import annotate as annotate
from .batch import annotate_batch as annotate_batch
from .batch import propagate as propagate
from .batch import run_batch as run_batch
from .batch import run_job as run_job
from .clips import process_clip as process_clip
from .clips import propagate_sequence as propagate_sequence
from .edits import ColorAdjust as ColorAdjust
from .edits import Edit as Edit
from .edits import Erase as Erase
from .edits import Layers as Layers
from .edits import Redaction as Redaction
from .edits import Sticker as Sticker
from .edits import edit_from_difference as edit_from_difference
from .edits import load_edit as load_edit
from .edits import save_edit as save_edit
from .errors import DiftEditError as DiftEditError
from .features import Featurizer as Featurizer
from .features import load_featurizer as load_featurizer
from .imaging import Image as Image
from .imaging import as_image as as_image
from .imaging import load_image as load_image
from .job import Job as Job
from .job import load_job as load_job
from .matching import match_points as match_points
from .pipeline import Transfer as Transfer
from .pipeline import transfer as transfer
from .placement import Placement as Placement
from .placement import View as View
from .placement import locate as locate
from .rendering import Compositing as Compositing
from .settings import AnnotateSettings as AnnotateSettings
from .settings import BatchSettings as BatchSettings
from .settings import TransferSettings as TransferSettings

__all__ = [
    "AnnotateSettings",
    "BatchSettings",
    "ColorAdjust",
    "Compositing",
    "DiftEditError",
    "Edit",
    "Erase",
    "Featurizer",
    "Image",
    "Job",
    "Layers",
    "Placement",
    "Redaction",
    "Sticker",
    "Transfer",
    "TransferSettings",
    "View",
    "__version__",
    "annotate",
    "annotate_batch",
    "as_image",
    "clips",
    "edit_from_difference",
    "edits",
    "errors",
    "evaluation",
    "features",
    "load_edit",
    "load_featurizer",
    "load_image",
    "load_job",
    "locate",
    "match_points",
    "matching",
    "process_clip",
    "propagate",
    "propagate_sequence",
    "run_batch",
    "run_job",
    "save_edit",
    "transfer",
    "viz",
]
