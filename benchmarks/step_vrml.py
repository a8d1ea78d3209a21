"""KiCad's STEP files against its VRML files, which are to be the same shapes: distance of their surfaces, and extents.

    python -m benchmarks.step_vrml usr/share/kicad/3dmodels --count 60     # the unpacked package kicad-packages3d

STEP is read in metres, VRML counts tenths of an inch. The distance is the mean of both directions between 8192 points
of each surface, over the radius; beside it that of two samplings of the same STEP file: what equal shapes have.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from act3d.readers.by_suffix import read_shape
from act3d.readers.guarded import Lost, limits_for, read_one
from act3d.readers.shape import Shape, sample_surface
from act3d.tables import Table

MM_OF_STEP, MM_OF_VRML = 1000.0, 2.54


class Pair(NamedTuple):
    """A model: its name, the distance of its surfaces, that of two samplings, the largest difference of extents (mm),
    and its areas (mm2)."""

    name: str
    distance: float
    sampling: float
    extents: float
    step_area: float
    vrml_area: float


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The mean distance of points (P, 3) to the nearest of others, of both directions."""
    return float((cKDTree(a).query(b)[0].mean() + cKDTree(b).query(a)[0].mean()) / 2)


def compare(step: Shape, vrml: Shape, name: str) -> Pair:
    """Compare a model's two files."""
    one, other, wrl = (
        sample_surface(shape, 8192, np.random.default_rng(seed)) for shape, seed in ((step, 0), (step, 1), (vrml, 0))
    )
    a, again, b = one.points * MM_OF_STEP, other.points * MM_OF_STEP, wrl.points * MM_OF_VRML
    radius = np.linalg.norm(b - b.mean(axis=0), axis=1).max()
    sides = np.ptp(step.vertices, axis=0) * MM_OF_STEP - np.ptp(vrml.vertices, axis=0) * MM_OF_VRML
    areas = one.area * MM_OF_STEP**2, wrl.area * MM_OF_VRML**2
    return Pair(name, distance(a, b) / radius, distance(a, again) / radius, float(np.abs(sides).max()), *areas)


def main() -> None:
    """Print the medians, and the pairs that differ most."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--count", type=int, default=60)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.root.glob("*/*.step") if path.with_suffix(".wrl").is_file())
    pairs = []
    for place in np.random.default_rng(0).permutation(len(files))[: arguments.count]:
        path = files[place]
        step, vrml = (read_one(read_shape, each, limits_for(each)) for each in (path, path.with_suffix(".wrl")))
        if isinstance(step, Lost):
            print(f"{path}: {step.reason}")
        elif isinstance(vrml, Lost):
            print(f"{path}: {vrml.reason}")
        else:
            pairs.append(compare(step, vrml, path.stem))
    pairs.sort(key=lambda pair: -pair.distance / pair.sampling)
    ratios = [pair.distance / pair.sampling for pair in pairs]
    print(
        f"{len(pairs)} models: median ratio {np.median(ratios):.2f}; above 1.5: {sum(ratio > 1.5 for ratio in ratios)}"
    )
    rows = [(p.name, p.distance / p.sampling, p.extents, p.step_area, p.vrml_area) for p in pairs[:8]]
    Table(["model", "ratio", "extents differ by, mm", "STEP area, mm2", "VRML area, mm2"], rows).print()


if __name__ == "__main__":
    main()
