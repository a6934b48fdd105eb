"""Types of what public functions take: images, points and quads in their usual forms, and the words of settings."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

if TYPE_CHECKING:
    import numpy.typing as npt
    import PIL.Image
    import torch

    from dift_edit.clips.io.base import Clip
    from dift_edit.imaging.image import Image

__all__ = [
    "Anchor",
    "AnchorSize",
    "Artwork",
    "Blend",
    "DifferenceKind",
    "AnnotationFormat",
    "Engine",
    "FramesLike",
    "ImageLike",
    "Instances",
    "LayerFormat",
    "Learn",
    "MaskLike",
    "Mirror",
    "PinsLike",
    "PointLike",
    "PointsLike",
    "QuadLike",
    "Resampling",
    "Status",
]

ImageLike: TypeAlias = Union["Image", str, os.PathLike[str], "PIL.Image.Image", "torch.Tensor", "npt.NDArray[Any]"]
"""An `Image`, the path of a file, a Pillow image, a tensor (C, H, W), or an array (H, W), (H, W, 3) or (H, W, 4)."""

FramesLike: TypeAlias = Union["Clip", str, os.PathLike[str], Sequence[ImageLike]]
"""A clip, the path of a folder of frames, a video or an animation, or a list of images of one size."""

PointsLike: TypeAlias = Union["npt.NDArray[Any]", Sequence[Sequence[float]]]
"""(N, 2) points (x, y) in pixels of the image as displayed; pixel centres are whole numbers."""

PointLike: TypeAlias = Union["npt.NDArray[Any]", Sequence[float]]
"""One point (x, y) in pixels of the image as displayed."""

PinsLike: TypeAlias = Sequence[Sequence[PointLike]]
"""Pairs ((x, y), (x, y)) of a source pixel and the target pixel that it belongs to."""

MaskLike: TypeAlias = Union["npt.NDArray[Any]", Sequence[Sequence[bool]]]
"""(H, W), true where something holds."""

QuadLike: TypeAlias = Union["npt.NDArray[Any]", Sequence[Sequence[float]]]
"""(4, 2) corners (x, y) in pixels: top left, top right, bottom right, bottom left of the edit."""

AnnotationFormat: TypeAlias = Literal[
    "coco",
    "yolo",
    "yolo-detect",
    "yolo-segment",
    "yolo-pose",
    "yolo-obb",
    "labelme",
    "cvat",
    "tps",
    "deeplabcut",
    "napari",
]
"""A format's name; ``yolo`` chooses the task by what there is to write."""

Engine: TypeAlias = Literal["auto", "similarity", "affine", "homography", "mesh", "spline", "notebook", "fixed"]
"""How a placement is estimated; "fixed" looks at no image, see `Anchor`."""

Anchor: TypeAlias = Literal[
    "pixels", "relative", "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom",
    "bottom-right",
]  # fmt: skip
"""What a fixed place keeps to: the pixels from the top left, the image's width and height, or a corner or edge."""

AnchorSize: TypeAlias = Literal["relative", "pixels"]
"""Whether an edit at a corner or edge grows with the image's shorter side, or keeps its pixels."""

Mirror: TypeAlias = Literal["auto", "never", "always"]
"""Whether the target may show the object mirrored."""

Learn: TypeAlias = Literal["off", "auto"]
"""Whether results of a set serve as further views of the edit."""

Instances: TypeAlias = int | Literal["all"]
"""On how many instances of the object in a target the edit is put."""

Status: TypeAlias = Literal["applied", "abstained", "failed"]
"""Result of one target."""

Blend: TypeAlias = Literal["over", "laplacian", "poisson", "poisson-mixed"]
"""How an edit is joined with the target."""

LayerFormat: TypeAlias = Literal["psd", "ora", "png"]
"""What a result's layers are written as."""

Resampling: TypeAlias = Literal["bilinear", "bicubic", "nearest"]
"""How an edit is resampled."""

DifferenceKind: TypeAlias = Literal["auto", "paint", "recolour", "redact", "erase"]
"""What was done to an image to edit it."""

Artwork: TypeAlias = Literal["auto", "keep", "flip"]
"""Whether a sticker on a mirrored target is mirrored, too."""
