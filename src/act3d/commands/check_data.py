"""`act3d check-data`: which dataset a folder holds, and what is wrong with it."""

from pathlib import Path
from typing import TYPE_CHECKING

from act3d.errors import InputError, reason_of
from act3d.files import is_remote, printable, write_text
from act3d.lines import say
from act3d.samples import SAMPLES
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
    from act3d.samples import sample_root

    found = check_folder(folder_of(settings.root))
    for item in found:
        print_found(item)
    # Nothing is written into the package's own folders, whichever way a sample was named, or beside a URL.
    shipped = [sample_root(name).resolve() for name in SAMPLES]
    elsewhere = is_remote(settings.root) or Path(folder_of(settings.root)).resolve() in shipped
    if settings.page != "none" and (settings.page or not elsewhere):
        show(found, settings.root, settings.page)
    say()
    for item in found:
        say(summary(item, settings.root))
    problems = sum(len(item.problems) for item in found)
    if problems:
        raise InputError(f"{settings.root}: {problems} problem{'s' if problems > 1 else ''} found")
    if settings.card:
        from act3d.use.dataset_card import dataset_card

        write_text(settings.card, dataset_card(settings.root))
        say(f"card: {settings.card}")
    return found


def print_found(found: "Found") -> None:
    """Print what was found of one dataset."""
    say(_title(found))
    for split, part in found.parts.items():
        classes = {name: count for name, count in part.classes.items() if name}
        line = f"  {split}: {part.clouds} clouds of {part.points} points"
        say(line + (f", {len(classes)} classes" if classes else ""))
        if classes:
            listed = ", ".join(f"{name} {count}" for name, count in classes.items())
            say(f"    {listed}" + (f"; unlabelled {part.classes['']}" if "" in part.classes else ""))
    for note in found.notes:
        say(f"  note: {note}")
    for problem in found.problems:
        say(f"  problem: {problem}")
    say(f"  fingerprint: {found.fingerprint or 'none yet'}")


def show(found: "list[Found]", root: str, page: str = "") -> None:
    """Write the pages of the datasets that can be opened, and print where they are."""
    from act3d.use.dataset_page import place_of_page, write_rooms, write_shapes

    usable = [item for item in found if not item.problems and item.parts and item.command != "fewshot"]
    first = Path(page) if page else place_of_page(root)
    for number, item in enumerate(usable):
        path = first if number == 0 else first.with_name(f"{first.stem}-{number + 1}{first.suffix}")
        try:
            if item.unit == "rooms":
                write_rooms(path, root)
            else:
                write_shapes(path, root, subset=item.subset)
        except (OSError, InputError) as error:  # of several datasets in one folder not all may be opened by its name
            say(f"no page of {_title(item)}: {reason_of(error)}", error=True)
        else:
            say(f"what it looks like: {path}")


def summary(found: "Found", root: str) -> str:
    """Return the last line about a dataset: whether it can be used, how much of it there is, and by which command."""
    if found.problems:
        return printable(f"{_title(found)}: {len(found.problems)} problems, see above")
    clouds = sum(part.clouds for part in found.parts.values())
    classes = {name for part in found.parts.values() for name in part.classes if name}
    kinds = f", {len(classes)} classes" if classes else ", no class labels"
    subset = f" --data.subset {found.subset}" if found.subset else ""
    use = f"; use it by: act3d {found.command} --data.root {root}{subset}" if found.command else ""
    return printable(f"{_title(found)}: usable, {clouds} {found.unit} in {', '.join(found.parts)}{kinds}{use}")


def _title(found: "Found") -> str:
    return found.dataset + (f", {found.variant}" if found.variant else "")
