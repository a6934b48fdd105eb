"""Transforms for tests of what comes after geometry."""

from dataclasses import dataclass

import numpy as np

from dift_edit.geometry.base import MatrixTransform


@dataclass
class Dense:
    """A transform that hides its matrix, as a mesh or spline would have none."""

    inner: MatrixTransform
    matrix: np.ndarray | None = None

    def __call__(self, points):
        return self.inner(points)

    def inverse(self):
        return Dense(self.inner.inverse())


def similarity(scale=1.0, degrees=0.0, x=0.0, y=0.0):
    a, b = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return MatrixTransform(np.array([(a, -b, x), (b, a, y), (0, 0, 1.0)]))
