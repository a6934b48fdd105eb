"""A plot of confidence and opacity over a clip, as SVG."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

__all__ = ["confidence_plot"]

# Pixels of the plot and its margins (chosen).
_WIDTH, _HEIGHT = 960, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 30, 34


def confidence_plot(
    confidence: npt.NDArray[np.float64],
    opacity: npt.NDArray[np.float64],
    *,
    cuts: Sequence[int] = (),
    keyframes: Sequence[int] = (),
    title: str = "",
    most_points: int = 2000,
) -> str:
    """Draw one value per frame.

    Parameters
    ----------
    confidence, opacity : ndarray
        (n,) in [0, 1]: a line and a filled area.
    cuts, keyframes : sequence of int
        Frames that get a red line, and a green mark.
    title : str
        Above the plot.
    most_points : int
        Longer clips are thinned out; of each group of frames the least value is drawn.

    Returns
    -------
    str
        An SVG document.
    """
    count = len(confidence)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(frame: float) -> float:
        return _LEFT + width * frame / max(count - 1, 1)

    def y(value: float) -> float:
        return _TOP + height * (1 - value)

    def line(values: npt.NDArray[np.float64]) -> str:
        group = -(-count // most_points)
        starts = range(0, count, group)
        return " ".join(f"{x(i):.1f},{y(float(values[i : i + group].min())):.1f}" for i in starts)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="18" font-size="13" fill="#222">{escape(title)}</text>',
    ]
    for value in (0, 0.5, 1):
        parts.append(f'<path d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#555">{value:g}</text>')
    step = max(1, round(count / 8, -int(np.log10(max(count / 8, 1)))) if count > 8 else 1)
    for frame in np.arange(0, count, int(step)):
        parts.append(
            f'<text x="{x(float(frame)):.1f}" y="{_HEIGHT - 14}" text-anchor="middle" fill="#555">{frame}</text>'
        )
    outline = f"{_LEFT},{y(0):.1f} {line(opacity)} {x(count - 1):.1f},{y(0):.1f}"
    parts.append(f'<polygon points="{outline}" fill="#00b4d8" fill-opacity="0.22"/>')
    parts.append(f'<polyline points="{line(confidence)}" fill="none" stroke="#03527a" stroke-width="1.6"/>')
    parts += [
        f'<path d="M{x(cut):.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#d62828" stroke-dasharray="4 3"/>' for cut in cuts
    ]
    parts += [f'<circle cx="{x(key):.1f}" cy="{y(1):.1f}" r="4" fill="#2a9d3f"/>' for key in keyframes]
    legend = [
        ("#03527a", "confidence"),
        ("#9bdcec", "opacity of the edit"),
        ("#d62828", "cut"),
        ("#2a9d3f", "keyframe"),
    ]
    right = _WIDTH - _RIGHT - 400
    for number, (color, name) in enumerate(legend):
        left = right + (0, 100, 240, 300)[number]
        parts.append(f'<rect x="{left}" y="9" width="10" height="10" fill="{color}"/>')
        parts.append(f'<text x="{left + 14}" y="18" fill="#333">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])
