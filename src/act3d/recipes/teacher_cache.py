"""The teacher's features of fixed views, computed once and kept on disk (`teacher.cache`).

A view of a cloud is what a step would see: points drawn, augmented, and cut into patches. `teacher.views` views of
every cloud are drawn once. Their patches and the teacher's features of these are three `.npy` files that are
memory-mapped in training: an epoch reads the next view of every cloud, and neither cuts patches nor runs the teacher.

The folder's name is a digest of all that the content depends on, so several caches may lie in one place. Files grow
batch by batch; what an interrupted run has written is kept.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, closing
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from act3d.data.clouds import CloudDataset
from act3d.data.reading import open_npy
from act3d.data.transforms import augmentation
from act3d.data.views import Selection
from act3d.engine import processes
from act3d.engine.seeding import mix
from act3d.errors import Act3dError, ConfigError, InputError, OutOfSpace
from act3d.files import move_into_place, one_writer, read_json, space_for, write_json
from act3d.geometry import Patches
from act3d.lines import say
from act3d.models.autoencoder import Autoencoder
from act3d.progress import Progress

DESCRIPTION, VERSION = "targets.json", 1
CHUNK = 64  # clouds that the teacher sees at once; part of the format: other batches may round in other ways


class Views(NamedTuple):
    """Views of some clouds, as they are stored.

    neighborhoods: (B, V, G, M, 3) float16, relative to the patch's center. The teacher saw these, rounded as they are.
    centers: (B, V, G, 3) float32.
    targets: (B, V, G, D) float16, the teacher's features.
    """

    neighborhoods: np.ndarray
    centers: np.ndarray
    targets: np.ndarray


DTYPES = [np.dtype(name) for name in ("float16", "float32", "float16")]


class CachedTargets(Selection):
    """The clouds of a dataset as views with the teacher's features; epoch e gives view e modulo V of every cloud.

    "points" of a batch are neighborhoods (B, G, M, 3) float16; beside them are "centers" (B, G, 3) and "targets"
    (B, G, D) float16.

    Args:
        source: the dataset that the views were drawn from.
        views: views of all its clouds, memory-mapped.
    """

    def __init__(self, source: CloudDataset, views: Views) -> None:
        super().__init__(source, np.arange(len(source)))
        self.views = views

    def fetch(self, indices: Sequence[int], epoch: int | None = None) -> dict[str, Tensor]:
        rows = np.asarray(indices, dtype=np.int64)
        view = (self.epoch if epoch is None else epoch) % self.views.centers.shape[1]
        neighborhoods, centers, targets = (torch.from_numpy(part[rows, view]) for part in self.views)
        found = {"points": neighborhoods, "centers": centers, "targets": targets}
        return {**found, "label": torch.from_numpy(self.labels[rows]), "index": torch.from_numpy(rows)}

    def stored_alike(self) -> None:
        return None  # views are read on the host


class TeacherCache:
    """Where the features of one teacher for fixed views of one dataset are, or will be.

    Args:
        root: folder of caches.
        teacher: in eval mode, on the device that computes.
        clouds: training clouds.
        views: V, views of every cloud.
        augment: name of their augmentation.
        seed: of their augmentation.
    """

    def __init__(
        self, root: Path, teacher: Autoencoder, clouds: CloudDataset, views: int, augment: str, seed: int
    ) -> None:
        self.teacher, self.clouds, self.views, self.seed = teacher, clouds, views, seed
        self.augment = augmentation(augment)
        self.description: dict[str, Any] = {
            "format": "act3d-targets",
            "version": VERSION,
            "teacher": teacher_digest(teacher),
            "data": clouds.name,
            "fingerprint": clouds.fingerprint,
            "clouds": hashlib.sha256("\n".join(clouds.names).encode("utf-8", "surrogateescape")).hexdigest(),
            "points": [clouds.points, clouds.normalization, clouds.meta.get("up"), clouds.seed],
            "augment": [augment, seed],
            "shape": [len(clouds), views, teacher.patches, teacher.patch_size, teacher.teacher_width],
        }
        text = json.dumps(self.description, sort_keys=True)
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:16]

    def open(self) -> CachedTargets:
        """Return the views; compute what is not there yet, after saying how much room it will take.

        Raises:
            InputError: a feature is too large for float16, or not finite; or another process wrote the cache on a disk
                that this one does not see.
            OutOfSpace: the disk is too small.
        """
        problem = self.problem()
        if processes.gather_objects(problem)[0]:
            self._make(problem)
        if problem := self.problem():
            raise InputError(f"teacher.cache: {problem}; with several machines, give a teacher.cache_dir that all see")
        return CachedTargets(self.clouds, Views(*(open_npy(path) for path in self._paths(self.folder))))

    def problem(self) -> str:
        """Return why the folder cannot be used, or "" if it can."""
        try:
            if read_json(self.folder / DESCRIPTION) != self.description:
                return f"{self.folder} belongs to other data, another teacher or other views"
            for path, shape, dtype in zip(self._paths(self.folder), self.shapes, DTYPES, strict=True):
                found = open_npy(path)
                if (found.shape, found.dtype) != (shape, dtype):
                    return f"{path} holds {found.shape} {found.dtype}, expected {shape} {dtype}"
        except InputError as error:
            return str(error)
        return ""

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the three arrays, as `Views` has them."""
        clouds, views, patches, size, width = self.description["shape"]
        return [(clouds, views, patches, *rest) for rest in ((size, 3), (3,), (width,))]

    @property
    def bytes_needed(self) -> int:
        """Room that the cache takes on disk."""
        return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in zip(self.shapes, DTYPES, strict=True))

    def view_of(self, rows: np.ndarray, view: int) -> Views:
        """Draw one view of the clouds at `rows` and compute the teacher's features: arrays without their axis V.

        `rows` are a chunk of `CHUNK` clouds, whose first one numbers the augmentation's random numbers.
        """
        points = self.clouds.fetch(rows.tolist(), view)["points"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(self.seed, view, int(rows[0])))
            points = self.augment(points)
        neighborhoods, centers = self.teacher.patchify(points.to(next(self.teacher.parameters()).device))
        half = neighborhoods.half()
        targets = features_of(self.teacher, Patches(half.float(), centers))
        parts = Views(*(part.cpu().numpy() for part in (half, centers, targets)))
        if not all(np.isfinite(part).all() for part in parts):
            names = ", ".join(self.clouds.names[row] for row in rows[:3])
            raise InputError(f"teacher.cache: features of {names} ... are not finite in float16; train without it")
        return parts

    # ------------------------------------------------------------------ making it

    def _paths(self, folder: Path) -> list[Path]:
        return [folder / f"{name}.npy" for name in Views._fields]

    def _make(self, problem: str) -> None:
        """Compute what is missing; each process a share of the chunks, which the first one writes."""
        first, world = processes.rank() == 0, processes.world()
        with ExitStack() as stack:
            writer = self._writer(stack, problem)
            starts = range(0, len(self.clouds), CHUNK)
            done = int(processes.gather_objects(writer.rows // CHUNK if writer else 0)[0])
            progress = stack.enter_context(Progress(len(starts), done, first, text="teacher.cache", unit="batches"))
            for group in range(done, len(starts), world):
                number = group + processes.rank()
                mine = self._chunk(starts[number]) if number < len(starts) else None
                for part in processes.gather_objects(mine):
                    if writer and part is not None:
                        writer.append(part)
                progress.advance(count=min(world, len(starts) - group))
            if writer:
                writer.finish(self.folder, self.description)
        processes.gather_objects(None)  # nobody opens it before it is there

    def _chunk(self, start: int) -> Views:
        rows = np.arange(start, min(start + CHUNK, len(self.clouds)))
        views = [self.view_of(rows, view) for view in range(self.views)]
        return Views(*(np.stack(parts, axis=1) for parts in zip(*views, strict=True)))

    def _writer(self, stack: ExitStack, problem: str) -> "_Writer | None":
        """Return what writes, in the first process; all processes learn whether that is possible."""
        writer, error = None, None
        if processes.rank() == 0:
            try:
                writer = self._open_writer(stack, problem)
            except Act3dError as found:
                error = found
        if error := processes.gather_objects(error)[0]:
            raise error
        return writer

    def _open_writer(self, stack: ExitStack, problem: str) -> "_Writer":
        folder = self.folder
        try:
            stack.enter_context(one_writer(folder))
        except ConfigError:
            raise ConfigError(f"teacher.cache: another act3d command writes {folder}; wait for it") from None
        if folder.exists():
            say(f"teacher.cache: {problem}; it is made anew", error=True)
        part = folder.with_name(f".{folder.name}.part")
        writer = stack.enter_context(closing(_Writer(part, self._paths(part), self.shapes)))
        there = f"; those of {writer.rows} clouds are there" if writer.rows else ""
        size = f"{self.bytes_needed / 1e6:.1f} MB"
        say(
            f"teacher.cache: {self.views} views of {len(self.clouds)} clouds take {size} in {folder}{there}",
            error=True,
        )
        writer.check_room()
        return writer


class _Writer:
    """Three `.npy` files that grow by a chunk of clouds at a time; a chunk counts once all of them hold it."""

    def __init__(self, folder: Path, paths: list[Path], shapes: list[tuple[int, ...]]) -> None:
        self.folder, self.paths, self.clouds = folder, paths, shapes[0][0]
        folder.mkdir(parents=True, exist_ok=True)
        self._files = [path.open("ab+") for path in paths]
        headers = [_header(shape, dtype) for shape, dtype in zip(shapes, DTYPES, strict=True)]
        self._bytes = [int(np.prod(shape[1:])) * dtype.itemsize for shape, dtype in zip(shapes, DTYPES, strict=True)]
        found = [_rows(*file) for file in zip(self._files, headers, self._bytes, strict=True)]
        self.rows = min(found) if min(found) == self.clouds else min(found) // CHUNK * CHUNK
        for file, header, size in zip(self._files, headers, self._bytes, strict=True):
            file.truncate(len(header) + self.rows * size if self.rows else 0)
            if not self.rows:
                file.write(header)

    def check_room(self) -> None:
        """Check that what is missing fits on the disk.

        Raises:
            OutOfSpace: it does not.
        """
        needed, free = (self.clouds - self.rows) * sum(self._bytes), shutil.disk_usage(self.folder).free
        if needed > free:
            raise OutOfSpace(f"no space left: {self.folder} needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free")

    def append(self, part: Views) -> None:
        """Write the next chunk."""
        for path, file, values in zip(self.paths, self._files, part, strict=True):
            with space_for(path):
                file.write(np.ascontiguousarray(values).tobytes())
                file.flush()

    def finish(self, folder: Path, description: dict[str, Any]) -> None:
        """Give the finished folder its name."""
        for file in self._files:
            os.fsync(file.fileno())
        write_json(self.folder / DESCRIPTION, description)
        move_into_place(self.folder, folder)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The bytes that a `.npy` file of this array begins with."""
    file = BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, facts)
    return file.getvalue()


def _rows(file: BinaryIO, header: bytes, size: int) -> int:
    """Whole rows of `size` bytes that a file holds behind this header."""
    file.seek(0)
    if file.read(len(header)) != header:
        return 0
    return (file.seek(0, os.SEEK_END) - len(header)) // size


def teacher_digest(teacher: Autoencoder) -> str:
    """Digest of all weights and statistics of a teacher, the frozen Transformer's too."""
    digest = hashlib.sha256(json.dumps(teacher.config, sort_keys=True, default=str).encode())
    for name, value in sorted(teacher.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def features_of(teacher: Autoencoder, patches: Patches) -> Tensor:
    """The teacher's features of patches, rounded as they are stored: (B, G, D) float16."""
    return teacher.features(patches).half()
