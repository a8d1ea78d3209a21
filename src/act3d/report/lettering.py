"""Names on figures and charts: how large, where, and what is left of those that do not fit."""

from collections.abc import Sequence


def fitted(count: int, width: float, points: float, least: float = 4.5) -> tuple[float, int]:
    """Return the size of letters, at most `points`, at which a line of `count` fits, and how many then do.

    Args:
        count: letters of the line.
        width: of the place for it, in inches.
        points: size of letters where there is room; one of 7 points is 0.064 inches wide on average.
        least: size below which a line is cut instead.
    """
    room = 0.96 * width / (0.064 / 7)  # letters of one point
    size = min(points, max(least, room / max(count, 1)))
    return size, max(int(room / size), 6)


def shortened(name: str, count: int) -> str:
    """A name of at most `count` letters: cut in the middle, for files often differ at the end."""
    if len(name) <= count:
        return name
    front = (count - 1) // 2
    return f"{name[:front]}…{name[len(name) - (count - 1 - front) :]}"


def place_names(
    names: Sequence[tuple[str, float, float]], width: float, height: float, letter: float = 8.4, line: float = 17
) -> list[tuple[str, float, float]]:
    """Return names (text, x, y from above) moved inside a picture, and up or down where one would cover another.

    Args:
        names: Each with the place of its middle.
        width, height: Of the picture.
        letter, line: Width of a letter and height of a line, in the same unit.
    """
    taken: list[tuple[float, float, float]] = []
    found = []
    for name, x, y in names:
        half = letter / 2 * len(name) + 4
        x = min(max(x, half), max(width - half, half))
        y = min(max(y, line / 2), max(height - line / 2, line / 2))
        steps = [sign * step * line / 3 for step in range(3 * len(names) + 1) for sign in (1, -1)]
        free = [
            y + step
            for step in steps
            if line / 2 <= y + step <= height - line / 2
            and not any(abs(x - a) < half + c and abs(y + step - b) < line for a, b, c in taken)
        ]
        y = free[0] if free else y
        taken.append((x, y, half))
        found.append((name, x, y))
    return found
