"""Pure functions on batches of points (B, N, 3): sampling, neighbors, patches, interpolation, distances."""

from act3d.geometry.checks import check_points
from act3d.geometry.distances import chamfer, f_score, reconstruction_scores
from act3d.geometry.gathering import gather
from act3d.geometry.interpolation import interpolate
from act3d.geometry.neighbors import knn
from act3d.geometry.patches import Patches, patchify
from act3d.geometry.sampling import farthest_point_sample

__all__ = [
    "Patches",
    "chamfer",
    "check_points",
    "f_score",
    "farthest_point_sample",
    "gather",
    "interpolate",
    "knn",
    "patchify",
    "reconstruction_scores",
]
