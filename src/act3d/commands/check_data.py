"""`act3d check-data`: which dataset a folder holds, and what is wrong with it."""

from typing import TYPE_CHECKING

from act3d.errors import InputError
from act3d.settings.command import command
from act3d.settings.preparing import CheckDataSettings

if TYPE_CHECKING:
    from act3d.data.layout import Found


@command
def check_data(settings: CheckDataSettings) -> "list[Found]":
    """Look at a dataset before training on it.

    Returns:
        All that was found.

    Raises:
        InputError: nothing there that act3d knows, or problems were found (after all of them were printed).
    """
    from act3d.data import folder_of
    from act3d.data.layouts import check_folder

    found = check_folder(folder_of(settings.root))
    for item in found:
        print_found(item)
    problems = sum(len(item.problems) for item in found)
    if problems:
        raise InputError(f"{settings.root}: {problems} problem{'s' if problems > 1 else ''} found")
    return found


def print_found(found: "Found") -> None:
    """Print one dataset."""
    print(f"{found.dataset}{f', {found.variant}' if found.variant else ''}")
    for split, part in found.parts.items():
        classes = {name: count for name, count in part.classes.items() if name}
        line = f"  {split}: {part.clouds} clouds of {part.points} points"
        print(line + (f", {len(classes)} classes" if classes else ""))
        if classes:
            listed = ", ".join(f"{name} {count}" for name, count in classes.items())
            print(f"    {listed}" + (f"; unlabelled {part.classes['']}" if "" in part.classes else ""))
    for note in found.notes:
        print(f"  note: {note}")
    for problem in found.problems:
        print(f"  problem: {problem}")
    print(f"  fingerprint: {found.fingerprint or 'none yet'}")
