"""A table of embeddings: one row a shape, kept as one npz or parquet file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act3d.errors import CheckpointError, ConfigError, InputError, MissingDependency
from act3d.files import atomic_path, printable
from act3d.installing import how_to_install
from act3d.tables import Cell, Table, Tabular

COLUMNS = ("name", "label", "split", "path", "stamp")
SUFFIXES = (".npz", ".parquet")


@dataclass(repr=False)
class Embeddings(Tabular):
    """Vectors of shapes, with names and labels.

    Attributes:
        vectors: (S, F) float32.
        columns: name, label ("" = unknown), split, path, stamp (tells whether the shape has changed): (S,) texts each.
        meta: JSON-able facts: checkpoint, its fingerprint, kind, points ...
    """

    vectors: NDArray[np.float32]
    columns: dict[str, list[str]]
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        classes = len(set(self.columns["label"]) - {""})
        about = f", {classes} classes" if classes else ""
        return f"<Embeddings: {len(self)} shapes, {self.vectors.shape[1]} numbers each{about}>"

    def table(self) -> Table:
        """One row a shape: name, label, split, path, and the numbers of its vector as f0, f1 ..."""
        shown = [name for name in COLUMNS if name != "stamp"]
        width = self.vectors.shape[1]
        texts = zip(*(self.columns[name] for name in shown), strict=True)
        rows: list[Sequence[Cell]] = [(*t, *v) for t, v in zip(texts, self.vectors.tolist(), strict=True)]
        return Table([*shown, *(f"f{i}" for i in range(width))], rows, digits=3)

    def _repr_html_(self) -> str:
        first, whole = self.rows(list(range(min(10, len(self))))).table(), repr(self)[1:-1]
        return Table(first.columns[:8], [row[:8] for row in first.rows], title=whole, digits=3).html()

    def __getitem__(self, name: str) -> list[str]:
        return self.columns[name]

    def keys(self) -> list[tuple[str, str]]:
        """The key of a row, (name, stamp): equal keys mean an equal shape."""
        return list(zip(self.columns["name"], self.columns["stamp"], strict=True))

    def rows(self, places: list[int]) -> "Embeddings":
        """Some of the rows, in this order."""
        columns = {name: [values[i] for i in places] for name, values in self.columns.items()}
        return Embeddings(self.vectors[places], columns, self.meta)

    def write(self, path: str | Path) -> Path:
        """Write an .npz or .parquet file, whole or not at all.

        Raises:
            InputError: Another suffix.
            MissingDependency: parquet needs pyarrow.
        """
        path = Path(path)
        check_suffix(path)
        with atomic_path(path) as temporary:
            if path.suffix == ".npz":
                with temporary.open("wb") as file:
                    arrays: dict[str, Any] = {k: np.array(v, dtype=np.str_) for k, v in self.columns.items()}
                    np.savez(file, embedding=self.vectors, meta=np.array(json.dumps(self.meta)), **arrays)
            else:
                _write_parquet(self, temporary)
        return path


def empty(width: int = 0, meta: dict[str, Any] | None = None) -> Embeddings:
    """A table without rows."""
    return Embeddings(np.zeros((0, width), dtype=np.float32), {name: [] for name in COLUMNS}, meta or {})


def made_by(meta: Mapping[str, Any]) -> tuple[str, str]:
    """What made the vectors of a table: digest of the model's file, and backend; a table that names none is torch's."""
    return str(meta.get("checkpoint")), str(meta.get("backend", "torch"))


def check_made_by(out: Path, meta: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to add vectors to those of another model or backend: these must never mix.

    Raises:
        ConfigError: `facts` are of another one than `meta`, which `out` holds.
    """
    (model, backend), (new_model, new_backend) = made_by(meta), made_by(facts)
    if model != new_model:
        raise ConfigError(f"out: {out} was made with {_other_model(meta, facts)}; choose another --out")
    if backend != new_backend:
        raise ConfigError(
            f"backend: {out} holds embeddings by {backend}, not {new_backend}; take that, or choose another --out"
        )


def check_model(place: str, meta: Mapping[str, Any], facts: Mapping[str, Any], remedy: str = "") -> None:
    """Refuse to compare a table's vectors with those of another model.

    Args:
        place: what the table is called. meta: its facts.
        facts: of the model at hand.
        remedy: how to get a table of the model at hand; "" = as `act3d index` makes it.

    Raises:
        CheckpointError: it is another one.
    """
    if made_by(meta)[0] != made_by(facts)[0]:
        raise CheckpointError(
            f"{place} was made with {_other_model(meta, facts)}; name the model of then by --checkpoint, or "
            + (remedy or "make it anew: act3d index FOLDER --out NEW_FOLDER")
        )


def _other_model(meta: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    then, now = meta.get("path", "a model of no name"), facts.get("path", "the one at hand")
    return f"{now} as it was then, and it has changed" if then == now else f"{then}, not with {now}"


def check_suffix(path: Path) -> None:
    """Refuse a file name with an unknown suffix, or one whose package is missing."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: suffix {path.suffix!r} is not known; allowed: {', '.join(SUFFIXES)}")
    if path.suffix == ".parquet":
        _pyarrow()


def read_embeddings(path: str | Path) -> Embeddings:
    """Read what `Embeddings.write` wrote.

    Raises:
        InputError: No such file, or not such a table.
    """
    path = Path(path)
    check_suffix(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return _read_npz(path) if path.suffix == ".npz" else _read_parquet(path)
    except MissingDependency:
        raise
    except Exception as error:  # zip, NumPy and pyarrow fail in many ways; all mean a bad file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a table of embeddings ({reason})") from error


def _read_npz(path: Path) -> Embeddings:
    with np.load(path, allow_pickle=False) as file:
        columns = {name: [str(value) for value in file[name]] for name in COLUMNS}
        return Embeddings(file["embedding"].astype(np.float32), columns, json.loads(str(file["meta"])))


def _write_parquet(table: Embeddings, path: Path) -> None:
    arrow = _pyarrow()
    width = table.vectors.shape[1]
    flat = arrow.array(np.ascontiguousarray(table.vectors).reshape(-1), arrow.float32())
    # Paths may hold bytes that are no UTF-8, which arrow refuses.
    arrays = [arrow.array([printable(text) for text in table.columns[name]], arrow.string()) for name in COLUMNS]
    arrays.append(arrow.FixedSizeListArray.from_arrays(flat, width))
    made = arrow.table(arrays, [*COLUMNS, "embedding"])
    from pyarrow import parquet

    parquet.write_table(made.replace_schema_metadata({"act3d": json.dumps(table.meta)}), path)


def _read_parquet(path: Path) -> Embeddings:
    _pyarrow()
    from pyarrow import parquet

    table = parquet.read_table(path)
    stored = table.column("embedding").combine_chunks()
    vectors = stored.flatten().to_numpy(zero_copy_only=False).reshape(len(stored), stored.type.list_size)
    columns = {name: [str(value) for value in table.column(name).to_pylist()] for name in COLUMNS}
    return Embeddings(vectors.astype(np.float32), columns, json.loads(table.schema.metadata[b"act3d"]))


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingDependency(f"parquet files need pyarrow: {how_to_install('parquet')} (or take .npz)") from error
    return pyarrow
