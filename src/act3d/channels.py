"""Channels of points beside x, y and z: their names and widths.

Points with channels are arrays (..., 3 + F): x, y, z, then each channel in the order of `WIDTHS`. Values lie in -1..1;
0 stands for what is not known: no normal, and the grey in the middle between black and white.
"""

from collections.abc import Sequence

from act3d.errors import ConfigError

XYZ = "xyz"
WIDTHS = {"normal": 3, "rgb": 3}  # also their order


def parse_channels(text: str, where: str = "data.channels") -> tuple[str, ...]:
    """Return the channels beside xyz of a text such as "xyz,normal,rgb".

    Raises:
        ConfigError: xyz is not among them, or a name that is not known.
    """
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in (XYZ, *WIDTHS)]
    if unknown or XYZ not in names:
        what = f"{unknown[0]!r} is not known" if unknown else f"{text!r} lacks xyz"
        raise ConfigError(f"{where}: {what}; allowed: {XYZ}, with {' and '.join(WIDTHS)} behind it, joined by commas")
    return tuple(name for name in WIDTHS if name in names)


def width_of(channels: Sequence[str]) -> int:
    """F, the numbers a point has beside x, y and z."""
    return sum(WIDTHS[name] for name in channels)


def columns_of(channels: Sequence[str]) -> dict[str, slice]:
    """The columns of each channel behind x, y and z: {"normal": slice(0, 3) ...}."""
    found, start = {}, 0
    for name in channels:
        found[name] = slice(start, start + WIDTHS[name])
        start += WIDTHS[name]
    return found


def missing_line(missing: Sequence[str], where: str) -> str:
    """What to tell a user whose input lacks channels that a model was trained with."""
    return f"{where} has no {' and no '.join(missing)}, which the model was trained with; it goes by the rest"
