"""The annotations of one target."""

import os
import time
from functools import partial

from dift_edit.annotations import AnnotatedImage
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.landmarks.annotate import LabelCarrier
from dift_edit.pipeline import Transfer, abstain_reason, failure
from dift_edit.settings import AnnotateSettings, TransferSettings
from dift_edit.types import ImageLike
from dift_edit.viz.annotated import draw_annotations

__all__ = ["annotate_target", "placement_settings"]


def annotate_target(carrier: LabelCarrier, target: ImageLike) -> Transfer:
    """The annotations on one target; whatever goes wrong there is its status "failed" and a reason."""
    start = time.perf_counter()
    settings = carrier.labels.settings
    name = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
    name = str(target.name) if isinstance(target, Image) and target.file else name
    made = partial(Transfer, settings=placement_settings(settings), model=carrier.featurizer.model, target=name)
    try:
        picture = as_image(target)
        carried = carrier(picture)
        reason = abstain_reason(carried.placement, settings.min_confidence)
        if not carried.objects:
            reason = reason or "nothing of the annotations is in the image"
        image = draw_annotations(picture, carried.objects)
    except Exception as error:  # noqa: BLE001 - what is wrong with the caller's input was raised before
        return made(status="failed", reason=failure(error, name or "The target"), seconds=time.perf_counter() - start)
    annotated = AnnotatedImage(path=name or "target", size=picture.size, objects=carried.objects)
    return made(
        status="abstained" if reason else "applied", reason=reason, image=image, placement=carried.placement,
        annotated=annotated, seconds=time.perf_counter() - start,
    )  # fmt: skip


def placement_settings(settings: AnnotateSettings) -> TransferSettings:
    """What a batch records of how annotations were placed."""
    return TransferSettings(mirror=settings.mirror, min_confidence=settings.min_confidence, seed=settings.seed)
