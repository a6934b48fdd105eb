"""Complete settings by name: model, size, timestep, block, ensemble, prompt, metric and estimator.

"fast" is for large sets of photographs, "clips" for masks of videos; the others are as published. Their
values are those of the DIFT paper's released evaluation scripts; the argument parsers' defaults there differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dift_edit.settings import fingerprint

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Everything that defines a published experiment.

    Attributes
    ----------
    name : str
        As the user types it.
    version : int
        Raised when any value changes.
    model : str
        A name of the catalogue.
    settings : mapping
        Of the model's featurizer.
    metric : str
        "cosine" or "l2": how features are compared.
    features : str
        Whether "raw" or "unit" features are interpolated.
    matching : str
        "nearest" or "mutual" neighbours, or "propagation" of labels.
    estimator : mapping
        What is fitted to the matches, or how labels are propagated.
    source : str
        Where the values come from.
    """

    name: str
    version: int = 1
    model: str
    settings: Mapping[str, object]
    metric: str
    features: str = "unit"
    matching: str
    estimator: Mapping[str, object] = field(default_factory=dict)
    source: str

    def fingerprint(self) -> str:
        """Digest of all values."""
        return fingerprint(
            self.name, self.version, self.model, dict(self.settings), self.metric, self.features, self.matching,
            dict(self.estimator),
        )  # fmt: skip


OWN = "benchmarks/networks.py: nearly the accuracy of the default in a fifth of its time"
CLIPS = "benchmarks on clips of DAVIS, docs/sequences.md"
SEMANTIC = "DIFT, section 5.2 and its SPair-71k script"
GEOMETRIC = "DIFT, section 6.1 and its HPatches script"
TEMPORAL = "DIFT, section 6.2 and its DAVIS script"
LABELS: dict[str, object] = {"frames": 28, "radius": 15}

_ALL = (
    Preset(
        name="fast", model="lite", metric="cosine", matching="nearest", source=OWN, settings={"image_size": 320},
    ),
    Preset(
        name="clips", model="dift-mini", metric="cosine", matching="propagation", source=CLIPS,
        estimator={
            "protocol": "corrected", "temperature": 0.2, "top_k": 15, "frames": 14, "radius": 15, "channels": 32,
            "edges": "image",
        },
        settings={"short_sides": (256,)},
    ),
    Preset(
        name="semantic-sd", model="sd21", metric="cosine", features="raw", matching="nearest", source=SEMANTIC,
        settings={
            "image_size": 768, "size_mode": "square", "timestep": 261, "up_block": 1, "ensemble": 8,
            "prompt": "a photo of a {category}",
        },
    ),
    Preset(
        name="semantic-adm", model="adm", metric="cosine", features="raw", matching="nearest", source=SEMANTIC,
        settings={
            "short_sides": (512,), "square": True, "timestep": 101, "layers": ("output_blocks.4",), "ensemble": 8,
            "normalize": False,
        },
    ),
    Preset(
        name="geometric-sd", model="sd21", metric="cosine", matching="mutual", source=GEOMETRIC,
        estimator={"method": "lmeds"},
        settings={
            "image_size": 768, "size_mode": "square", "timestep": 0, "up_block": 2, "ensemble": 8, "prompt": "",
        },
    ),
    Preset(
        name="geometric-adm", model="adm", metric="l2", matching="mutual", source=GEOMETRIC,
        estimator={"method": "ransac", "threshold": 3.0},
        settings={
            "short_sides": (768,), "square": True, "timestep": 41, "layers": ("output_blocks.11",), "ensemble": 4,
            "normalize": False,
        },
    ),
    Preset(
        name="temporal-sd", model="sd21", metric="cosine", matching="propagation", source=TEMPORAL,
        estimator={"temperature": 0.2, "top_k": 15, **LABELS},
        settings={
            "image_size": 480, "size_mode": "short", "floor_to": 32, "timestep": 51, "up_block": 2, "ensemble": 8,
            "prompt": "",
        },
    ),
    Preset(
        name="temporal-adm", model="adm", metric="cosine", matching="propagation", source=TEMPORAL,
        estimator={"temperature": 0.1, "top_k": 10, **LABELS},
        settings={
            "short_sides": (480,), "floor_to": 32, "timestep": 51, "layers": ("output_blocks.7",), "ensemble": 4,
            "normalize": False,
        },
    ),
    Preset(
        name="cleandift", model="cleandift", metric="cosine", features="raw", matching="nearest",
        source="CleanDIFT, section 4 (semantic correspondence)",
        settings={
            "image_size": 768, "size_mode": "square", "timestep": 261, "up_block": 1, "ensemble": 1,
            "add_noise": False, "posterior": "mean", "prompt": "a photo of a {category}",
        },
    ),
)  # fmt: skip

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})
"""Name → preset."""
