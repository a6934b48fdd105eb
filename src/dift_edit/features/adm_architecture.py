"""The numbers of an ADM network, and how guided-diffusion's and diffusers' names of its blocks correspond."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dift_edit.settings import Settings, option

__all__ = ["AdmArchitecture"]


@dataclass(frozen=True, kw_only=True)
class AdmArchitecture(Settings):
    """The numbers that guided-diffusion's model files do not hold; defaults: 256 × 256, unconditional.

    Blocks that halve or double the size are residual ones, and time enters by scale and shift, as in all
    published 256 and 512 models.
    """

    channels: int = option(256, "channels of the first level", limits=(1, None), metavar="N")
    channel_mult: tuple[int, ...] = option(
        (1, 1, 2, 2, 4, 4), "multiples of the channels at each level", limits=(1, None), metavar="N"
    )
    res_blocks: int = option(2, "residual blocks of each level on the way down", limits=(1, None), metavar="N")
    attention_levels: tuple[int, ...] = option(
        (3, 4, 5), "levels with attention; level n is 2^n times smaller", limits=(0, None), empty=True
    )
    head_channels: int = option(64, "channels of one attention head", limits=(1, None), metavar="N")
    in_channels: int = option(3, "channels of the input", limits=(1, None), metavar="N")
    out_channels: int = option(6, "channels of the output", limits=(1, None), metavar="N")
    groups: int = option(32, "groups of the group norms", limits=(1, None), metavar="N")
    image_size: int = option(256, "side of the images it was trained on", limits=(1, None), metavar="N")

    def config(self) -> dict[str, Any]:
        """Arguments for diffusers' ``UNet2DModel``."""
        levels = range(len(self.channel_mult))
        down = ["AttnDownBlock2D" if i in self.attention_levels else "ResnetDownsampleBlock2D" for i in levels]
        up = ["AttnUpBlock2D" if i in self.attention_levels else "ResnetUpsampleBlock2D" for i in reversed(levels)]
        return {
            "sample_size": self.image_size,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "block_out_channels": tuple(self.channels * multiple for multiple in self.channel_mult),
            "layers_per_block": self.res_blocks,
            "down_block_types": tuple(down),
            "up_block_types": tuple(up),
            "attention_head_dim": self.head_channels,
            "norm_num_groups": self.groups,
            "attn_norm_num_groups": self.groups,
            "norm_eps": 1e-5,
            "resnet_time_scale_shift": "scale_shift",
            "downsample_type": "resnet",
            "upsample_type": "resnet",
            "flip_sin_to_cos": True,
            "freq_shift": 0,
        }

    def modules(self) -> Iterator[tuple[str, str, str]]:
        """(guided-diffusion's name, diffusers' name, "resnet" or "attention") of each block."""
        count, last = self.res_blocks, len(self.channel_mult) - 1
        for level in range(last + 1):
            first = 1 + level * (count + 1)
            for block in range(count):
                yield f"input_blocks.{first + block}.0", f"down_blocks.{level}.resnets.{block}", "resnet"
                if level in self.attention_levels:
                    yield f"input_blocks.{first + block}.1", f"down_blocks.{level}.attentions.{block}", "attention"
            if level < last:
                yield f"input_blocks.{first + count}.0", f"down_blocks.{level}.downsamplers.0", "resnet"
        yield "middle_block.0", "mid_block.resnets.0", "resnet"
        yield "middle_block.1", "mid_block.attentions.0", "attention"
        yield "middle_block.2", "mid_block.resnets.1", "resnet"
        for step in range(last + 1):
            attends = last - step in self.attention_levels
            for block in range(count + 1):
                old = f"output_blocks.{step * (count + 1) + block}"
                yield f"{old}.0", f"up_blocks.{step}.resnets.{block}", "resnet"
                if attends:
                    yield f"{old}.1", f"up_blocks.{step}.attentions.{block}", "attention"
                if block == count and step < last:
                    yield f"{old}.{1 + attends}", f"up_blocks.{step}.upsamplers.0", "resnet"
