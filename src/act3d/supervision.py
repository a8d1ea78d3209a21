"""What a model learnt from beside shapes: it is said wherever a number of that model stands.

A name can say what a class label says, so what learns from names is never put beside what learns from shapes alone
without a word. `facts` are those of a checkpoint (`meta`) or of results.json: both have `supervision`, or `start` with
that of the encoder that training began from.
"""

from collections.abc import Mapping
from typing import Any

NAMES, CLASSES = "names", "classes"
_CALLED = {NAMES: "name-supervised", CLASSES: "class-supervised"}


def supervision_of(facts: Mapping[str, Any]) -> str:
    """Return "names" ("classes") for a model that learnt from those, or started from an encoder that did; else ""."""
    start = facts.get("start")
    earlier = start.get("supervision") if isinstance(start, Mapping) else None
    return str(facts.get("supervision") or earlier or "")


def supervision_note(facts: Mapping[str, Any], before: str = ", ") -> str:
    """Return ", name-supervised" for such a model, to be put behind its name or numbers; else ""."""
    called = _CALLED.get(supervision_of(facts))
    return f"{before}{called}" if called else ""
