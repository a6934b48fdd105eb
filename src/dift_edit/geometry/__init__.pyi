from .base import Chain as Chain
from .base import Matrix as Matrix
from .base import MatrixTransform as MatrixTransform
from .base import Transform as Transform
from .coords import Points as Points
from .coords import as_points as as_points
from .coords import rescale_points as rescale_points
from .estimate import Correspondences as Correspondences
from .estimate import fit_affine as fit_affine
from .estimate import fit_homography as fit_homography
from .estimate import fit_similarity as fit_similarity
from .mesh import PiecewiseAffine as PiecewiseAffine
from .quad import check_quad as check_quad
from .quad import quad_iou as quad_iou
from .thin_plate import InverseSpline as InverseSpline
from .thin_plate import ThinPlateSpline as ThinPlateSpline
from .thin_plate import fit_thin_plate as fit_thin_plate

__all__ = [
    "Chain",
    "Correspondences",
    "InverseSpline",
    "Matrix",
    "MatrixTransform",
    "PiecewiseAffine",
    "Points",
    "ThinPlateSpline",
    "Transform",
    "as_points",
    "check_quad",
    "fit_affine",
    "fit_homography",
    "fit_similarity",
    "fit_thin_plate",
    "quad_iou",
    "rescale_points",
]
