"""How good search in an index is: over labelled shapes, and of an approximate index against an exact search."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act3d.errors import InputError
from act3d.evaluation.retrieval import RetrievalQuality, retrieval_quality
from act3d.progress import phase
from act3d.use.index_table import CLUSTER, PROBES, REFINE, matrix, read_columns

EXACT_LIMIT = 100_000  # shapes up to which a query is compared with all of them
ASKED = 2000  # labelled shapes that are asked in a larger collection
MOST_NEW = 0.1  # share of rows that an approximate index may lack before it is made anew
RECALL_QUERIES, RECALL_AT = 100, 10


def quality(unit: NDArray[np.float32], labels: list[str], splits: list[str]) -> dict[str, dict[str, Any]]:
    """mAP and recall@k over the labelled shapes: all against all, and test against train where there are splits.

    Args:
        unit: Unit vectors (S, F).
        labels, splits: Of every shape, "" = unknown.
    """
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, result: RetrievalQuality) -> None:
        recall = {str(k): v for k, v in result.recall.items()}
        found[name] = {"map": result.mean_ap, "recall": recall, "queries": result.queries, "by_class": result.class_ap}

    try:
        add("each shape among all others", retrieval_quality(unit, labels, most=ASKED if len(unit) > 20_000 else None))
        test, train = ([i for i, s in enumerate(splits) if s == wanted] for wanted in ("test", "train"))
        if test and train:
            sides = [(unit[rows], [labels[i] for i in rows]) for rows in (test, train)]
            add("test shapes among training shapes", retrieval_quality(*sides[0], *sides[1]))
    except InputError:  # nothing labelled, or no two of a kind
        pass
    return found


def make_searchable(table: Any, columns: Sequence[str]) -> None:
    """Make what queries need: full-text indexes, and approximate ones of vectors in a large table.

    An index that is there stays; rows that it lacks are added to it by `table.optimize`. One of vectors that lacks many
    is made anew, for its clusters are no longer those of the table.

    Args:
        table: LanceDB's.
        columns: Of vectors.
    """
    from lancedb.index import FTS, IvfSq

    there = {index.columns[0]: index.name for index in table.list_indices()}
    for column in ("name", "text"):
        if column not in there:
            table.create_index(column, config=FTS())
    shapes = table.count_rows()
    for column in columns:
        if shapes <= EXACT_LIMIT:
            if column in there:
                table.drop_index(there[column])
        elif column not in there or table.index_stats(there[column]).num_unindexed_rows > MOST_NEW * shapes:
            with phase(f"making the approximate index of {column}"):
                clusters = IvfSq(distance_type="cosine", num_partitions=max(1, shapes // CLUSTER))
                table.create_index(column, config=clusters)


def approximate_recall(table: Any, columns: Sequence[str]) -> dict[str, float]:
    """Recall@10 in percent of every approximate index of some columns of vectors, against an exact search."""
    there = {index.columns[0] for index in table.list_indices()}
    return {column: measure_recall(table, column) for column in columns if column in there}


def measure_recall(table: Any, column: str) -> float:
    """How many of the 10 nearest shapes an approximate search finds, in percent, over 100 stored vectors."""
    rows = read_columns(table, ["id", column])
    ids, vectors = np.array(rows["id"].to_pylist()), matrix(rows[column], rows[column].type.list_size)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    asked = range(0, len(ids), max(1, len(ids) // RECALL_QUERIES))[:RECALL_QUERIES]
    found = total = 0
    for similarity, vector in zip(unit[asked] @ unit.T, unit[asked], strict=True):
        exact = ids[np.argpartition(-similarity, min(RECALL_AT, len(ids)) - 1)[:RECALL_AT]]
        query = table.search(vector, vector_column_name=column).distance_type("cosine").select(["id", "_distance"])
        near = query.nprobes(PROBES).refine_factor(REFINE).limit(RECALL_AT).to_arrow()["id"].to_pylist()
        found, total = found + len(set(exact) & set(near)), total + len(exact)
    return 100 * found / total
