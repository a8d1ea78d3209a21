"""The page that a quickstart begins with: the encoder that comes with act3d, on furniture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from act3d.report.page import write_page
from act3d.report.pieces import Named, Retrieval, named_card, retrieval_values

HEADER = ["percent right", "linear SVM", "k-NN", "search, mAP", "ten shapes of each of five classes"]


@dataclass(frozen=True)
class FirstLook:
    """What was found on test shapes of furniture.

    Attributes:
        train_shapes, test_shapes, classes: numbers of them.
        kinds: kind of frozen features -> "linear", "knn", "map" (search among test shapes) and "few" (mean over tasks).
        tasks: how many few-shot tasks; their queries are test shapes.
        zero_shot: percent of test shapes whose nearest class word is right.
        named: the first test shape of every class, with the likeliest words.
        phrases: phrase -> the nearest shapes of all.
        alike: training shapes nearest to some test shapes.
        licence: of the shapes.
    """

    train_shapes: int
    test_shapes: int
    classes: list[str]
    kinds: Mapping[str, Mapping[str, float]]
    tasks: int
    zero_shot: float
    named: Sequence[Named]
    phrases: Mapping[str, Sequence[Named]]
    alike: Retrieval
    licence: str


def write_first_look(
    path: str | Path, look: FirstLook, names: Mapping[str, str], few: float, tuned: float, model: str
) -> Path:
    """Write the page and return its path.

    Args:
        path: the file to write.
        look: what was found.
        names: kind of features -> what a reader calls it, in the order of the table.
        few: percent right of a classifier trained from scratch on the few-shot tasks.
        tuned: percent right of the encoder fine-tuned on all labels.
        model: the encoder's name.
    """
    right = sum(shape.right is True for shape in look.named)
    return write_page(
        path,
        "first_look.html",
        look=look,
        model=model,
        headline=headline(look, names),
        header=HEADER,
        rows=[*rows(look, names), ["a classifier from scratch", "", "", "", f"{few:.1f}"]],
        tuned=f"{tuned:.1f}",
        retrieval=retrieval_values(look.alike),
        named=[named_card(shape) for shape in look.named],
        right=right,
        phrases=[(phrase, [named_card(shape) for shape in found]) for phrase, found in look.phrases.items()],
    )


def rows(look: FirstLook, names: Mapping[str, str]) -> list[list[str]]:
    """Return one row a kind of features."""
    return [
        [name, *(f"{look.kinds[kind][key]:.1f}" for key in ("linear", "knn", "map", "few"))]
        for kind, name in names.items()
    ]


def headline(look: FirstLook, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (figure, meaning) of the large figures."""
    own, plain = look.kinds["pretrained"], look.kinds["plain"]
    return [
        (f"{look.zero_shot:.0f} %", f"named rightly by words alone, {len(look.classes)} classes, no training"),
        (f"{own['linear']:.0f} %", f"right with labels and a linear SVM; {names['plain']}: {plain['linear']:.0f} %"),
        (f"{own['map']:.0f}", f"mean average precision of search; {names['plain']}: {plain['map']:.0f}"),
    ]
