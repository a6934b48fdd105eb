"""EfficientNet-Lite2 without its classifier: inverted residual blocks, batch norms folded into the convolutions.

References
----------
Tan and Le, EfficientNet, ICML 2019 (the Lite variants: ReLU6 instead of swish, no squeeze-and-excitation).
Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, section 3.3.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["STAGES", "EfficientNetLite", "Stage"]


class Stage(NamedTuple):
    """Blocks in a row with the same output.

    Attributes
    ----------
    blocks : int
        How many.
    channels : int
        Of the output.
    kernel : int
        Side of the depthwise convolutions' kernels in pixels.
    padding : (before, after) or None
        Zeros at both ends of each axis before the first block's depthwise convolution, which then has stride 2; None
        for stride 1.
    """

    blocks: int
    channels: int
    kernel: int
    padding: tuple[int, int] | None = None


STAGES = (
    Stage(1, 16, 3),
    Stage(3, 24, 3, (0, 1)),
    Stage(3, 48, 5, (2, 2)),
    Stage(4, 88, 3, (1, 1)),
    Stage(4, 120, 5),
    Stage(5, 208, 5, (2, 2)),
)
"""Blocks 0 to 19 of EfficientNet-Lite2, with the paddings of its PyTorch port."""


class _Block(nn.Module):
    """Expand by 1 × 1, filter each channel by itself, project by 1 × 1; the input is added where shapes agree."""

    def __init__(self, inputs: int, stage: Stage, *, first: bool, ratio: int) -> None:
        super().__init__()
        strided, hidden = first and stage.padding is not None, ratio * inputs
        before, after = stage.padding if strided and stage.padding else (stage.kernel // 2, stage.kernel // 2)
        self.pad = (before, after, before, after)
        self.adds = not strided and inputs == stage.channels
        self.expand = nn.Conv2d(inputs, hidden, 1) if ratio > 1 else None
        self.depthwise = nn.Conv2d(hidden, hidden, stage.kernel, 2 if strided else 1, groups=hidden)
        if before == after:
            self.depthwise.padding, self.pad = (before, before), (0, 0, 0, 0)
        self.project = nn.Conv2d(hidden, stage.channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # In place: clearing new memory for each layer would cost a third of the time.
        inner = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        inner = F.relu6(self.depthwise(F.pad(inner, self.pad) if any(self.pad) else inner), inplace=True)
        y: torch.Tensor = self.project(inner)
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """The dense part of EfficientNet-Lite2.

    Parameters
    ----------
    stages : sequence of Stage
        The first has no expansion, the others one by `ratio`.
    stem : int
        Channels of the first convolution, 3 × 3 with stride 2.
    ratio : int
        How many times as many channels a block has inside.

    Attributes
    ----------
    strides : list of int
        Of each block's output, in pixels of the picture.
    offsets : list of float
        By how many pixels the middle of what a cell sees lies to the right of, and below, the cell's own middle.
    """

    def __init__(self, stages: Sequence[Stage] = STAGES, *, stem: int = 32, ratio: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, stem, 3, 2)
        self.blocks = nn.ModuleList()
        self.strides: list[int] = []
        self.offsets: list[float] = []
        inputs, stride, offset = stem, 2, 0.5
        for number, stage in enumerate(stages):
            if stage.padding is not None:
                offset += (stage.kernel // 2 - stage.padding[0] - 0.5) * stride
                stride *= 2
            for index in range(stage.blocks):
                self.blocks.append(_Block(inputs, stage, first=index == 0, ratio=ratio if number else 1))
                self.strides.append(stride)
                self.offsets.append(offset)
                inputs = stage.channels

    def forward(self, pixels: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
        """Outputs of some blocks; those after the last of them are not run.

        Parameters
        ----------
        pixels : torch.Tensor
            (B, 3, H, W) RGB in [−1, 1].
        blocks : sequence of int
            Numbers of blocks, from 0.

        Returns
        -------
        list of torch.Tensor
            (B, C, ⌈H / stride⌉, ⌈W / stride⌉) of each, see `strides`.
        """
        x, outputs = F.relu6(self.stem(F.pad(pixels, (0, 1, 0, 1))), inplace=True), {}
        for number in range(max(blocks) + 1):
            x = outputs[number] = self.blocks[number](x)
        return [outputs[number] for number in blocks]
