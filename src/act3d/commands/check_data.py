"""`act3d check-data`: which dataset a folder holds, and what is wrong with it."""

from typing import TYPE_CHECKING

from act3d.errors import InputError

if TYPE_CHECKING:
    from act3d.data.layout import Found


def check_data(root: str) -> "list[Found]":
    """Look at a dataset before training on it.

    Says which dataset and variant a folder holds, counts clouds and classes in every split, names what is missing,
    cut off or wrong, and prints the fingerprint that goes into every result from this data. Every file is looked at;
    all are read whole, but for ModelNet40's text files where their cache is still to be made.

    Args:
        root: folder with a prepared dataset or a released one (ShapeNet-55, ModelNet40, few-shot folds, ScanObjectNN,
            ShapeNetPart), rooms of S3DIS, or "sample".

    Returns:
        All that was found.

    Raises:
        InputError: nothing there that act3d knows, or problems were found (after all of them were printed).
    """
    from act3d.data import folder_of
    from act3d.data.layouts import check_folder

    found = check_folder(folder_of(root))
    for item in found:
        print_found(item)
    problems = sum(len(item.problems) for item in found)
    if problems:
        raise InputError(f"{root}: {problems} problem{'s' if problems > 1 else ''} found")
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
