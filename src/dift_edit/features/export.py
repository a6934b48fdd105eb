"""Networks as ONNX files, for people who run them elsewhere."""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dift_edit.atomic_files import write_atomic
from dift_edit.errors import MissingDependencyError, ModelError
from dift_edit.features.base import Featurizer, make_noise
from dift_edit.features.fusion import FusedFeaturizer
from dift_edit.features.network import PixelFeaturizer
from dift_edit.features.pixel_diffusion import PixelDiffusionFeaturizer
from dift_edit.imaging.files import as_image

__all__ = ["ExportedNetwork", "export_onnx"]


@dataclass(frozen=True, kw_only=True)
class ExportedNetwork:
    """An ONNX file that was written and tried.

    Attributes
    ----------
    path : Path
        The file. Its input ``pixels`` is (1, 3, H, W) float32 RGB in [0, 1]; a diffusion network has the input
        ``noise``, standard normal (ensemble, C, h, w), too. Its output ``features`` is (1, C, h, w) float32.
    size : (W, H)
        In pixels, of ``pixels``.
    noise_shape : tuple of int or None
        Of ``noise``.
    grid : (w, h)
        Of ``features``.
    largest_difference : float
        Largest 1 − cosine of a cell between ONNX Runtime's features and those of torch, for noise as image.
    """

    path: Path
    size: tuple[int, int]
    noise_shape: tuple[int, ...] | None
    grid: tuple[int, int]
    largest_difference: float


class _Graph(torch.nn.Module):
    """Pixels, and noise where there is any, to features."""

    def __init__(self, featurizer: PixelFeaturizer[Any] | PixelDiffusionFeaturizer) -> None:
        super().__init__()
        self.featurizer = featurizer
        self.network = featurizer.unet if isinstance(featurizer, PixelDiffusionFeaturizer) else featurizer.network

    def forward(self, pixels: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        if isinstance(self.featurizer, PixelDiffusionFeaturizer):
            assert noise is not None
            return self.featurizer.from_pixels(pixels[0], noise)[None]
        return self.featurizer.from_pixels(pixels)


def export_onnx(
    featurizer: Featurizer, path: Path | str, *, size: tuple[int, int] = (640, 480), tolerance: float = 1e-4
) -> ExportedNetwork:
    """Write the network of a featurizer to an ONNX file, and compare what ONNX Runtime makes of it with torch.

    Parameters
    ----------
    featurizer : Featurizer
        One network on pixels: ``lite``, ``dift-mini``, ADM, a vision transformer or a ConvNeXt; in float32, on the CPU
        and with ``channels_last=False`` (plain convolutions).
    path : path
        The file.
    size : (W, H)
        Of an image in pixels: the file takes the size at which the network sees such an image.
    tolerance : float
        Largest 1 − cosine of a cell that is allowed.

    Returns
    -------
    ExportedNetwork

    Raises
    ------
    ModelError
        If the featurizer cannot be exported, or the file gives other features than torch; it is not kept then.
    MissingDependencyError
        If onnx or onnxruntime is not installed.
    """
    if isinstance(featurizer, FusedFeaturizer):
        names = ", ".join(part.model.id for part in featurizer.featurizers)
        raise ModelError(f"{featurizer.model.id} is several networks: export {names} one by one.")
    if not isinstance(featurizer, PixelFeaturizer | PixelDiffusionFeaturizer):
        raise ModelError(f"{featurizer.model.id} cannot be exported: only networks that see pixels can.")
    if isinstance(featurizer, PixelDiffusionFeaturizer) and len(featurizer.settings.short_sides) > 1:
        raise ModelError(f"{featurizer.model.id} runs at several sizes: export it with one of them.")
    if not all(1 <= edge <= 10_000 for edge in size):
        raise ModelError(f"An image of {size[0]} x {size[1]} pixels cannot be exported for: use 1 to 10000.")
    runtime = featurizer.runtime
    if not runtime.on_cpu or runtime.dtype != "float32" or runtime.channels_last or runtime.compile:
        raise ModelError("Load the network in float32, on the CPU and with channels_last=False to export it.")
    try:
        import onnx  # noqa: F401 - torch writes with it
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnx and onnxruntime", "export", "Exporting networks") from error
    blank = as_image(np.zeros((size[1], size[0], 3), np.uint8))
    if isinstance(featurizer, PixelDiffusionFeaturizer):
        width, height = featurizer._group(blank)[0]
    else:
        width, height = featurizer._group(blank)
    inputs = {"pixels": torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(0))}
    if isinstance(featurizer, PixelDiffusionFeaturizer):
        noise_shape = (featurizer.settings.ensemble, *featurizer.noise_shape((width, height)))
        inputs["noise"] = make_noise(noise_shape, 1)
    data = _traced(_Graph(featurizer).eval(), inputs)
    with torch.inference_mode():
        expected = _Graph(featurizer)(**inputs)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])
    if found.shape != expected.shape:
        raise ModelError(f"ONNX Runtime gives features of shape {tuple(found.shape)}, not {tuple(expected.shape)}.")
    difference = float((1 - F.cosine_similarity(found.double(), expected.double(), dim=1)).max())
    if not difference <= tolerance:
        raise ModelError(
            f"ONNX Runtime's features differ from torch's by up to {difference:.1e} (1 - cosine), more than "
            f"{tolerance:.1e}: try another version of onnxruntime."
        )
    write_atomic(path, lambda file: file.write(data))
    return ExportedNetwork(
        path=Path(path),
        size=(width, height),
        noise_shape=tuple(inputs["noise"].shape) if "noise" in inputs else None,
        grid=(found.shape[3], found.shape[2]),
        largest_difference=max(difference, 0.0),
    )


def _traced(graph: _Graph, inputs: dict[str, torch.Tensor]) -> bytes:
    """The ONNX file of a module for inputs of these shapes."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The newer exporter cannot leave a network before its end, as `run_until` does.
        warnings.simplefilter("ignore")
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            graph,
            tuple(inputs.values()),
            file,
            dynamo=False,
            opset_version=17,
            input_names=list(inputs),
            output_names=["features"],
        )
        return file.read_bytes()
