"""Names become texts: what a file, its folder or its catalog calls a shape, as words that a text Transformer knows.

A text never holds the class label unless it is asked for, so that what learns from texts has not been told the answer.
A name can still say it (`chair_0001.obj`, the title "Tyre 24 x 8"): such numbers are called name-supervised.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

Mode = Literal["caption", "names", "folders", "classes"]
MODES: tuple[Mode, ...] = ("caption", "names", "folders", "classes")

_SPLIT_FOLDERS = {"train", "training", "test", "testing", "val", "valid", "validation"}
_SUFFIX = re.compile(r"\.(3dshapes|[a-z][a-z0-9]{1,7})$", re.IGNORECASE)  # not the .5mm of "P0.5mm"
# fooBar -> foo Bar, USBMicro -> USB Micro; LEDs stays as it is
_CAMEL = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][^\W\d_A-Z]{2})")
_CHUNK = re.compile(r"[^\s_/\\#,;:()\[\]]+")
_LETTERS = re.compile(r"[^\W\d_]+")
_HASH = re.compile(r"(?=.*\d)[0-9a-f-]{12,}", re.IGNORECASE)  # ids of models
_UNITS = {"mm", "cm", "mil", "mils", "inch", "metric", "deg", "degree", "degrees"}


def words_of(name: str) -> str:
    """The words in a name, in lower case, each once.

    Camel case and punctuation part words. Numbers, sizes (`7x7mm`, `P0.5mm`, `2 x 4`, `1608Metric`), single letters,
    part numbers (`BX0036`, `12BH611-GR`) and hashes go: in a chunk with a digit, only runs of three letters or more are
    words, so that `LQFP-48` and `SOT23` keep theirs.

    >>> words_of("BatteryHolder_Bulgin_BX0036_1xC")
    'battery holder bulgin'
    >>> words_of("Technic Pneumatic Cylinder  2 x  2 x  5")
    'technic pneumatic cylinder'
    """
    words: dict[str, None] = {}
    for chunk in _CHUNK.findall(name):
        if _HASH.fullmatch(chunk):
            continue
        shortest = 3 if any(character.isdigit() for character in chunk) else 2
        for run in _LETTERS.findall(chunk):
            for word in _CAMEL.sub(" ", run).lower().split():
                if len(word) >= shortest and word not in _UNITS:
                    words[word] = None
    return " ".join(words)


def text_of(row: Mapping[str, str], mode: Mode = "caption", use_class: bool = False, clean: bool = True) -> str:
    """The text of one shape; "" when nothing says a word about it.

    Args:
        row: A row of a dataset's `clouds.csv`: `name` (folders and file, as in
            `Package_QFP/LQFP-48_7x7mm_P0.5mm`), and whatever else the table has.
        mode: What to read. `names`: the file's name. `folders`: the folders it lies in. `caption`: a sentence or title
            if the table has one (columns `caption`, or `title` and `category`), else folders and name together.
            `classes`: the class label alone, as ReCon was released with; what learns from it is class-supervised.
        use_class: Put the class label in front. Without it, a folder that is called like the class is left out too.
        clean: Keep words only, see `words_of`; without it only spaces are tidied, so that sentences stay sentences.

    Raises:
        ValueError: Another mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is not known; allowed are {', '.join(MODES)}")
    if mode == "classes":
        return label_text(row.get("class", ""), clean)
    *folders, file = re.split(r"[/\\]", row["name"])
    # What tells splits and classes apart in a folder of one's own is a label, not a name.
    label = row.get("class", "")
    folders = [f for f in folders if f.lower() not in _SPLIT_FOLDERS and (use_class or f.lower() != label.lower())]
    folder, file = " ".join(_SUFFIX.sub("", f) for f in folders), _SUFFIX.sub("", file)
    file = file.rpartition("#")[2]  # catalogs: "Library#id"
    told = row.get("caption") or f"{row.get('title', '')} {row.get('category', '')}"
    text = {"names": file, "folders": folder, "caption": told if words_of(told) else f"{folder} {file}"}[mode]
    text = f"{label} {text}" if use_class else text
    return words_of(text) if clean or not words_of(text) else " ".join(text.split())


def texts_of(
    table: Mapping[str, Sequence[str]], mode: Mode = "caption", use_class: bool = False, clean: bool = True
) -> list[str]:
    """`text_of` for every row of a table given by its columns, as `PackedDataset.table` is."""
    rows = (dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True))
    return [text_of(row, mode, use_class, clean) for row in rows]


def without_names(kind: str) -> str:
    """What every command says of a model that was given words and has no side of texts."""
    return f"a model of kind {kind!r} learnt no names, so words mean nothing to it; take one that did (act3d align)"


def label_text(label: str, clean: bool = True) -> str:
    """The text of a word that shapes may be called, as training texts are made: "hand_tool" -> "hand tool"."""
    return (words_of(label) if clean else "") or label
