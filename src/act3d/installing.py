"""How to get packages that act3d does not need for everything."""

import importlib.metadata
import shlex

from act3d.lines import typed


def how_to_install(extra: str) -> str:
    """Return the command that installs the packages of one of act3d's extras.

    It names the packages themselves: `pip install 'act3d[search]'` fails where act3d was installed from a folder, and
    would replace it where another package of that name is on the index.
    """
    try:
        needed = importlib.metadata.requires("act3d") or []
    except importlib.metadata.PackageNotFoundError:
        needed = []
    packages = [text.partition(";")[0].strip() for text in needed if f"extra == '{extra}'" in text.replace('"', "'")]
    return typed(f"pip install {shlex.join(packages or [f'act3d[{extra}]'])}")
