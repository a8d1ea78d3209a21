"""The table of an index in LanceDB: its columns, how it is opened, and how it is written, without torch.

Every change makes a new version of the table. The tag `current` names the version that is the index: an update adds
rows, removes others and writes the facts as versions of their own, and moves the tag at its very end. Whenever it is
stopped, readers see the whole old index, and the next update goes on from the last version that was written.
"""

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act3d.errors import Act3dError, CheckpointError, InputError, MissingDependency, reason_of
from act3d.files import HANDMADE_INDEX, INDEX_TABLE, has_index, is_remote, space_for
from act3d.installing import how_to_install

CURRENT, FACTS = "current", "act3d"
CLOUD_POINTS = 512
# Of an approximate search: shapes of a cluster, clusters looked at, and how many times k shapes are compared exactly.
CLUSTER, PROBES, REFINE = 8192, 20, 4
TEXTS = ("id", "name", "class", "split", "path", "stamp", "text", "zero_shot")
NUMBERS = ("width", "height", "depth", "zero_shot_probability")
SHOWN = ("id", "name", "class", "split", "path", "text", *NUMBERS[:3], "zero_shot", "zero_shot_probability")


def refuse_handmade(place: str | os.PathLike[str]) -> None:
    """Say how to make an index of an earlier version anew.

    Raises:
        CheckpointError: There is one.
    """
    folder = Path(place)
    if is_remote(place) or (folder / f"{INDEX_TABLE}.lance").is_dir() or not (folder / HANDMADE_INDEX).is_file():
        return
    try:
        model = json.loads((folder / "index.json").read_text(encoding="utf-8"))["checkpoint"]["path"]
    except (OSError, ValueError, LookupError, TypeError):
        model = "CHECKPOINT"
    raise CheckpointError(
        f"{folder}: an index of an earlier version of act3d, which this one does not read; "
        f"make it anew: act3d index INPUT --checkpoint {model} --out ANOTHER_FOLDER"
    )


def require_lancedb() -> None:
    """Say what to install where LanceDB is not, without importing it."""
    if importlib.util.find_spec("lancedb") is None:
        raise MissingDependency(f"an index needs lancedb: {how_to_install('search')}")


def load_lancedb() -> Any:
    """Import LanceDB, or say what to install."""
    require_lancedb()
    os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")  # it warns of a change that does not concern us
    os.environ.setdefault("LANCEDB_LOG", "error")  # it warns that a new index does not exist yet
    import lancedb

    return lancedb


@contextmanager
def guarded(place: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever LanceDB raises into one line about the index.

    Raises:
        CheckpointError: It is damaged, or cannot be reached.
    """
    with space_for(Path(place)):
        try:
            yield
        except (Act3dError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # panics of its Rust code are no Exception
            reason = short_reason(error)
            if any(words in str(error) for words in ("No space left", "File too large")):
                raise OSError(reason) from error
            raise CheckpointError(f"{place}: a damaged index, or one that cannot be reached ({reason})") from error


def short_reason(error: BaseException) -> str:
    """The part of an error of LanceDB's that is for its user, without the places in its own source."""
    text = reason_of(error)
    text = re.sub(r",? */\S*\.rs:\d+(:\d+)?", "", text)
    return text.removeprefix("Invalid input, ").replace("Invalid user input: ", "").strip(" ,.")[:300]


def open_table(place: str | os.PathLike[str], version: str = "") -> Any:
    """Open the table of an index at its last version, or at a tag; None if there is no table or no such tag.

    Raises:
        CheckpointError: Damaged, or of an earlier version of act3d.
        MissingDependency: LanceDB is not installed.
    """
    refuse_handmade(place)
    if not has_index(place):
        return None
    lancedb = load_lancedb()
    with guarded(place):
        base = lancedb.connect(os.fspath(place))
        if INDEX_TABLE not in base.list_tables().tables:
            return None
        table = base.open_table(INDEX_TABLE)
        if version and version not in table.tags.list():
            return None
        if version:
            table.checkout(version)
        return table


def facts_in(table: Any) -> dict[str, Any]:
    """The facts that a version of the table carries, as `Draft.finish` wrote them."""
    metadata = table.schema.field("id").metadata or {}
    facts: dict[str, Any] = json.loads(metadata.get(FACTS.encode(), b"{}"))
    return facts


def make_table(place: str | os.PathLike[str], facts: Mapping[str, Any], width: int, text_width: int) -> Any:
    """Make an empty table, in place of one that was never finished."""
    lancedb = load_lancedb()
    import pyarrow as pa

    def vector(name: str, size: int) -> Any:
        return pa.field(name, pa.list_(pa.float32(), size))

    about = {FACTS: json.dumps(facts)}
    columns = [pa.field(name, pa.string(), metadata=about if name == "id" else None) for name in TEXTS]
    columns += [pa.field(name, pa.float32()) for name in NUMBERS]
    columns += [pa.field("cloud", pa.binary()), vector("embedding", width), vector("vector", width)]
    columns += [vector("text_vector", text_width)] if text_width else []
    with guarded(place):
        if not is_remote(place):
            Path(place).mkdir(parents=True, exist_ok=True)
        return lancedb.connect(os.fspath(place)).create_table(INDEX_TABLE, schema=pa.schema(columns), mode="overwrite")


def arrow_table(columns: Mapping[str, Any], schema: Any) -> Any:
    """Columns by name (texts, numbers or None, bytes, vectors (S, F)) as an Arrow table of the index's types."""
    import pyarrow as pa

    arrays = {}
    for name, values in columns.items():
        kind = schema.field(name).type
        if isinstance(values, np.ndarray) and values.ndim == 2:
            flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
            arrays[name] = pa.FixedSizeListArray.from_arrays(pa.array(flat), kind.list_size)
        else:
            arrays[name] = pa.array(values, kind)
    return pa.table(arrays)


def matrix(column: Any, width: int) -> NDArray[np.float32]:
    """A column of vectors of an Arrow table as an array (S, F)."""
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.array(flat, dtype=np.float32).reshape(-1, width)


def upsert(table: Any, columns: Mapping[str, Any], insert: bool = True) -> None:
    """Replace the rows whose `id` is there, and add the others (or leave these out), in one transaction."""
    merge = table.merge_insert("id").when_matched_update_all()
    (merge.when_not_matched_insert_all() if insert else merge).execute(arrow_table(columns, table.schema))


def read_columns(table: Any, names: Sequence[str], where: str = "") -> Any:
    """Some columns of all rows, or of those that a filter lets through, as an Arrow table."""
    query = table.search().select(list(names))
    return (query.where(where) if where else query).limit(max(1, table.count_rows())).to_arrow()


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def identity(name: str, path: str) -> str:
    """The id of a shape: the same as long as its name and file are."""
    return hashlib.sha256(f"{name}\n{path}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def storable(path: str) -> str:
    r"""A path as the table holds it: bytes that are no UTF-8 become `\udcXX`."""
    return path.encode("utf-8", "backslashreplace").decode()


def path_of(stored: str) -> str:
    r"""The path that `storable` was given."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), stored)


def small(points: NDArray[np.floating]) -> bytes:
    """A cloud (N, 3) cut down for pictures: (512, 3) float16."""
    return np.resize(points[:CLOUD_POINTS], (CLOUD_POINTS, 3)).astype(np.float16).tobytes()


def cloud_of(stored: bytes) -> NDArray[np.float32]:
    """The cloud (512, 3) that `small` kept."""
    return np.frombuffer(stored, dtype=np.float16).reshape(-1, 3).astype(np.float32)


def check_name(table: Any, where: str, error: BaseException) -> InputError:
    """What to raise for a filter that LanceDB does not take."""
    names = ", ".join(
        name for name in table.schema.names if name not in ("cloud", "embedding", "vector", "text_vector")
    )
    return InputError(f"where: {where!r} is not understood ({short_reason(error)}); columns: {names}")
