"""3 × 3 convolutions by Winograd's minimal filtering: fewer multiplications, for float32 on CPUs."""

import torch

__all__ = ["quicken_convolutions"]

# Transforms of tiles, of kernels and back, by the tile's side m: Lavin and Gray, Fast Algorithms for Convolutional
# Neural Networks, CVPR 2016, section 4.1 (m = 2) and 4.2 (m = 4).
_INPUT = {
    2: torch.tensor([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    4: torch.tensor([
        [4.0, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
    ]),
}  # fmt: skip
_KERNEL = {
    2: torch.tensor([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
    4: torch.tensor([
        [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
    ]),
}  # fmt: skip
_OUTPUT = {
    2: torch.tensor([[1.0, 1, 1, 0], [0, 1, -1, -1]]),
    4: torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
}

# From how many products of channels on it pays, and up to how many the transformed weights are kept (they are 16/9 or
# 36/9 as large as the kernel); larger ones are transformed again at each call, which pays from so many positions on.
_LEAST_CHANNELS, _KEPT_CHANNELS, _LEAST_POSITIONS = 128 * 128, 512 * 256, 4096
_LEAST_SIDE, _SIDE_OF_LARGE_TILES = 12, 24
_TILES_AT_ONCE = 192  # in one matrix product: what lies between the transforms stays in the CPU's cache


class _Winograd:
    """Stands in for the ``forward`` of one convolution with 3 × 3 kernels, stride 1 and zero padding of 1."""

    def __init__(self, convolution: torch.nn.Conv2d) -> None:
        self.convolution = convolution
        self._kept: dict[int, torch.Tensor] = {}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        side = min(x.shape[2:])
        products = self.convolution.in_channels * self.convolution.out_channels
        few = products > _KEPT_CHANNELS and x[:, 0].numel() < _LEAST_POSITIONS
        if few or side < _LEAST_SIDE or x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
            return torch.nn.Conv2d.forward(self.convolution, x)
        m = 4 if side >= _SIDE_OF_LARGE_TILES else 2
        weight = self._kept.get(m)
        if weight is None:
            weight = transformed_kernel(self.convolution.weight, m)
            if products <= _KEPT_CHANNELS:
                self._kept[m] = weight
        return convolve(x, weight, self.convolution.bias, m)


def transformed_kernel(weight: torch.Tensor, m: int) -> torch.Tensor:
    """Kernels (C', C, 3, 3) for `convolve`: ((m + 2)², C', C)."""
    values = weight.new_empty((m + 2) ** 2 * weight[:, :, 0, 0].numel())
    values[: weight.numel()].view(3, 3, *weight.shape[:2]).copy_(weight.permute(2, 3, 0, 1))
    _transform(_KERNEL[m], values, torch.empty_like(values), weight[:, :, 0, 0].numel())
    return values.view(-1, *weight.shape[:2])


def convolve(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, m: int) -> torch.Tensor:
    """Convolve (N, C, H, W) with the transformed kernels of (m + 2)² tiles that overlap by 2; zero padding of 1.

    Each picture is computed by itself, so its result does not depend on the others of the batch.
    """
    (count, channels, height, width), out, a = x.shape, kernel.shape[1], m + 2
    down, across = -(-height // m), -(-width // m)
    rows = min(down, max(1, _TILES_AT_ONCE // across))
    weights, into, back = kernel.transpose(1, 2), _INPUT[m], _OUTPUT[m]
    # Written again by each strip: the system hands out large pieces of memory page by page, which costs more than
    # what is computed in them.
    first, second = x.new_empty(2, a * a * rows * across * channels).unbind()
    third, fourth = x.new_empty(2, a * a * rows * across * out).unbind()
    padded = x.new_zeros(rows * m + 2, across * m + 2, channels)
    tiles = padded.unfold(0, a, m).unfold(1, a, m).permute(3, 4, 0, 1, 2)
    y = x.new_empty(count, down, m, across, m, out)
    for picture, result in zip(x.permute(0, 2, 3, 1), y.permute(0, 2, 4, 1, 3, 5), strict=True):
        for top in range(0, down, rows):
            inner = picture[max(top * m - 1, 0) : (top + rows) * m + 1]
            start = int(top == 0)
            padded[:start] = 0
            padded[start : start + len(inner), 1 : width + 1] = inner
            padded[start + len(inner) :] = 0
            strip = tiles[:, :, : min(rows, down - top)]
            taken = strip.shape[2] * across
            inside, outside = taken * channels, taken * out
            first[: a * a * inside].view(strip.shape).copy_(strip)
            _transform(into, first, second, inside)
            torch.bmm(
                first[: a * a * inside].view(a * a, taken, channels),
                weights,
                out=third[: a * a * outside].view(a * a, taken, out),
            )
            _transform(back, third, fourth, outside)
            part = third[: m * m * outside].view(m, m, -1, across, out)
            if bias is not None:
                part += bias
            result[:, :, top : top + rows] = part
    y = y.view(count, down * m, across * m, out)[:, :height, :width]
    return y.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _transform(matrix: torch.Tensor, values: torch.Tensor, scratch: torch.Tensor, size: int) -> None:
    """Apply a matrix (a, b) to the rows and columns of the first b²·size `values`: a²·size of them, in their place."""
    a, b = matrix.shape
    rows = torch.mm(matrix, values[: b * b * size].view(b, -1), out=scratch[: a * b * size].view(a, -1))
    torch.bmm(matrix.expand(a, a, b), rows.view(a, b, size), out=values[: a * a * size].view(a, a, size))


def quicken_convolutions(network: torch.nn.Module) -> None:
    """Let the 3 × 3 convolutions of a frozen network run by Winograd's method where that is quicker.

    Parameters
    ----------
    network : torch.nn.Module
        Its weights must not change afterwards. float32 on the CPU without gradients is quickened; elsewhere, and for
        few channels or small maps, the convolutions run as before. The rounding differs: 2·10⁻⁶ of a result's norm.

    References
    ----------
    Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016.
    """
    for module in network.modules():
        if (
            type(module) is torch.nn.Conv2d
            and (module.kernel_size, module.stride, module.padding, module.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
            and module.groups == 1
            and module.padding_mode == "zeros"
            and module.in_channels * module.out_channels >= _LEAST_CHANNELS
        ):
            module.forward = _Winograd(module)  # type: ignore[method-assign, assignment]
