"""How good search in an index is: over labelled shapes, and of an approximate index against an exact search."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from act3d.errors import InputError
from act3d.evaluation.retrieval import RetrievalQuality, retrieval_quality
from act3d.progress import phase
from act3d.use.index_table import matrix

EXACT_LIMIT = 100_000  # shapes up to which a query is compared with all of them
ASKED = 2000  # labelled shapes that are asked in a larger collection
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


def approximate(table: Any, anew: bool, has_texts: bool) -> dict[str, float]:
    """Make or renew the approximate indexes of a large table; a small one has none.

    Args:
        table: LanceDB's.
        anew: Its vectors have changed.
        has_texts: It has vectors among texts as well.

    Returns:
        Recall@10 of every such index in percent, against an exact search.
    """
    there = {column for index in table.list_indices() for column in index.columns}
    columns = ["vector", "text_vector"] if has_texts else ["vector"]
    if table.count_rows() <= EXACT_LIMIT:
        for index in table.list_indices():
            if set(index.columns) & set(columns):
                table.drop_index(index.name)
        return {}
    from lancedb.index import HnswSq

    recall = {}
    for column in columns:
        if anew or column not in there:
            with phase(f"making the approximate index of {column}"):
                table.create_index(column, config=HnswSq(distance_type="cosine"))
        recall[column] = measure_recall(table, column)
    return recall


def measure_recall(table: Any, column: str) -> float:
    """How many of the 10 nearest shapes an approximate search finds, in percent, over 100 stored vectors."""
    step = max(1, table.count_rows() // RECALL_QUERIES)
    places = list(range(0, table.count_rows(), step))[:RECALL_QUERIES]
    stored = table.take_offsets(places).select([column]).to_arrow()[column]
    found = total = 0
    for vector in matrix(stored, stored.type.list_size):
        sets = []
        for exact in (True, False):
            query = table.search(vector, vector_column_name=column).distance_type("cosine").select(["id", "_distance"])
            query = query.bypass_vector_index() if exact else query.ef(200).refine_factor(4)
            sets.append(set(query.limit(RECALL_AT).to_arrow()["id"].to_pylist()))
        found, total = found + len(sets[0] & sets[1]), total + len(sets[0])
    return 100 * found / total
