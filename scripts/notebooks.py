"""Make the tutorials, docs/tutorials/NAME.ipynb, of examples/NAME.py, with what their cells print and draw.

    python scripts/notebooks.py [NAME ...]

An example is a script in parts: `# %%` begins a cell of code, `# %% [markdown]` one of text.
"""

import ast
import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]_*.py"))
INSTALL = """\
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("act3d") is None:  # on Colab, say
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "act3d[minilm,search]"], check=True)"""


def cells_of(script: str) -> list[tuple[str, str]]:
    """Return the cells of a script as ("markdown" or "code", text); the first one of code installs act3d if needed."""
    found = []
    for part in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        first, _, text = part.partition("\n")
        if first.strip() == "[markdown]":
            found.append(("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip()))
        else:
            found.append(("code", text.strip()))
    return [found[0], ("code", INSTALL), *found[1:]]


def run(cells: list[tuple[str, str]]) -> list[list[dict[str, Any]]]:
    """Run cells in this folder, one after another, and return the outputs of each, as notebooks store them."""
    variables: dict[str, Any] = {"__name__": "__main__"}
    return [run_cell(text, variables) if kind == "code" else [] for kind, text in cells]


def run_cell(text: str, variables: dict[str, Any]) -> list[dict[str, Any]]:
    """Run one cell of code; what it prints, and a picture as its last value, are its outputs."""
    tree = ast.parse(text)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value: Any = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), variables)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), variables)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(True)})
    if hasattr(value, "_repr_png_"):
        picture = base64.b64encode(value.convert("P", palette=1, colors=128)._repr_png_()).decode()
        outputs.append({"output_type": "display_data", "data": {"image/png": picture}, "metadata": {}})
    return outputs


def notebook_of(cells: list[tuple[str, str]], outputs: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Return a notebook (nbformat 4.5)."""
    stored: list[dict[str, Any]] = []
    for place, ((kind, text), made) in enumerate(zip(cells, outputs, strict=True)):
        cell: dict[str, Any] = {
            "id": f"cell-{place}",
            "cell_type": kind,
            "metadata": {},
            "source": text.splitlines(True),
        }
        if kind == "code":
            cell |= {"execution_count": None, "outputs": made}
        stored.append(cell)
    about = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": about, "cells": stored}


def main(names: list[str]) -> None:
    """Run the examples in an empty folder and write their notebooks."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ.setdefault("COLUMNS", "100")
        for path in EXAMPLES:
            if not names or path.stem in names:
                cells = cells_of(path.read_text(encoding="utf-8"))
                text = json.dumps(notebook_of(cells, run(cells)), indent=1, ensure_ascii=False)
                (ROOT / f"docs/tutorials/{path.stem}.ipynb").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
