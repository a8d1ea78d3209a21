"""Build the samples that ship inside the package.

    python scripts/make_sample.py KICAD_FOLDER_OR_DEB
    python scripts/make_sample.py --furniture FURNITURE_FOLDER_OR_DEB

"sample": 16 KiCad classes x 40 shapes x 1024 points with part labels. "sample-furniture": the 403 models of the 14
classes of Sweet Home 3D's furniture that look similar, 1024 points each, without the package's other models.

KICAD_FOLDER holds the unpacked Debian package kicad-packages3d 6.0.10 (usr/share/kicad/3dmodels and
usr/share/doc/kicad-packages3d/copyright). Which shapes: the splits of the label table are by family, so training and
test shapes never share one; per class 28 training and 12 test shapes, none under the GPL, taken from as many families
as there are, core shapes first.
"""

import argparse
import fnmatch
import hashlib
import re
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from act3d.data.packing import FAILURES
from act3d.files import write_text
from act3d.prepare.debian import unpack
from act3d.prepare.earlier import SOURCES
from act3d.prepare.items import Item, Source
from act3d.prepare.kicad import kicad_source
from act3d.prepare.pack import pack
from act3d.prepare.sweethome3d import sweethome3d_source
from act3d.samples import FURNITURE, SAMPLE, sample_root

CLASSES = [
    "cap_axial", "cap_smd_can", "dip_socket", "dip_switch", "disc_radial", "inductor_axial", "inductor_radial",
    "led_tht", "pin_header", "pin_socket", "pluggable_terminal", "qfn", "screw_terminal", "so", "to_tht",
    "wire_connector",
]  # fmt: skip
COUNTS = {"train": 28, "test": 12}
POINTS = 1024
SEED = 0

LICENSE = """\
The 3D shapes in this folder are NOT under act3d's own licence (MIT).

They are point samples of 3D models of the KiCad project's packages3D library (https://gitlab.com/kicad/libraries),
taken from Debian's package kicad-packages3d 6.0.10. The models, and with them these samples, stand under

    Creative Commons Attribution-ShareAlike 4.0 International (CC BY-SA 4.0)
    https://creativecommons.org/licenses/by-sa/4.0/legalcode

with the KiCad exception (https://www.kicad.org/libraries/license/). In our words: whoever uses the models inside an
electronic design need not put that design, nor the files made from it, under this licence. The exception does not cover
passing the models on as a collection, whole or in part, changed or not; this sample is such a collection, so for it the
plain CC BY-SA 4.0 holds: name the authors, say what was changed, and share changed versions under the same licence.

What was changed: of every model, 1024 points were drawn from its surface, turned so that y is up, centred, scaled into
the unit sphere and stored in half precision; materials became the part labels body, accent, metal, lens and marking.

Names and copyright holders of all models stand in ATTRIBUTION.md. No model under the GPL is among them. The models come
without warranty of any kind.
"""

FURNITURE_LICENSE = """\
The 3D shapes in this folder are NOT under act3d's own licence (MIT).

They are point samples of 3D models of Sweet Home 3D's furniture libraries (https://www.sweethome3d.com), taken from
Debian's package sweethome3d-furniture 1.8. Every model, and with it its sample, stands under the licence that
ATTRIBUTION.md gives beside its name and author:

    CC0-1.0       https://creativecommons.org/publicdomain/zero/1.0/legalcode
    CC-BY-3.0     https://creativecommons.org/licenses/by/3.0/legalcode
    CC-BY-3.0-US  https://creativecommons.org/licenses/by/3.0/us/legalcode

What was changed: of every model, 1024 points were drawn from its surface, centred, scaled into the unit sphere and
stored in half precision. The models come without warranty of any kind.
"""


def choose(items: list[Item], count: int) -> list[Item]:
    """`count` items, one family after the other and core ones first."""
    families: dict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: (item.extra["core"] != "1", _shuffle(item.name))):
        families[item.extra["family"]].append(item)
    # Position within its family first: every family gives one before any gives two.
    ranked = [(rank, item.extra["core"] != "1", _shuffle(name), item) for name, members in families.items()
              for rank, item in enumerate(members)]  # fmt: skip
    chosen = [item for *_, item in sorted(ranked, key=lambda entry: entry[:3])[:count]]
    if len(chosen) < count:
        raise SystemExit(f"only {len(chosen)} of {count} shapes of {items[0].cls if items else '?'}")
    return chosen


def _shuffle(name: str) -> bytes:
    return hashlib.sha256(f"{SEED}:{name}".encode()).digest()


def debian_holders(text: str) -> list[tuple[str, str]]:
    """(pattern, copyright) of every paragraph of Debian's copyright file; the last that matches counts."""
    holders = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^(\w+):((?:.*)(?:\n[ \t].*)*)", paragraph, flags=re.MULTILINE))
        if "Files" in fields and "Copyright" in fields:
            holder = " ".join(fields["Copyright"].split())
            holders += [(pattern, holder) for pattern in fields["Files"].split()]
    return holders


def copyright_of(item: Item, holders: list[tuple[str, str]]) -> str:
    """The model's own copyright line; what Debian found where it has none, or one that nobody filled in."""
    head = item.path.read_bytes()[:8192].decode("utf-8", errors="replace")
    own = [line.lstrip("# ").strip() for line in head.splitlines() if re.match(r"#\s*copyright \(c\)", line, re.I)]
    if own and not any("your name" in line for line in own):
        return "; ".join(dict.fromkeys(own))
    name = f"{item.path.parent.name}/{item.path.name}"
    return "Copyright " + [holder for pattern, holder in holders if fnmatch.fnmatchcase(name, pattern)][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--furniture", action="store_true", help="build the sample of furniture")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    out = arguments.out or sample_root(FURNITURE if arguments.furniture else SAMPLE)
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.source
        if root.suffix == ".deb":
            unpack(root, (".wrl", ".sh3f", "kicad-packages3d/copyright"), Path(temporary))
            root = Path(temporary)
        (build_furniture if arguments.furniture else build)(root, out)


def build(root: Path, out: Path) -> None:
    """Choose electronic parts, sample them, and write licence and attribution beside the data."""
    source = kicad_source(root)
    free = [item for item in source.items if item.cls in CLASSES and "GPL" not in item.extra["licence"]]
    chosen = [
        item
        for cls in CLASSES
        for split, count in COUNTS.items()
        for item in choose([item for item in free if (item.cls, item.split) == (cls, split)], count)
    ]
    source.items = [replace(item, extra={**item.extra}) for item in chosen]
    source.classes = CLASSES
    source.name = "sample"
    source.licence = "CC-BY-SA-4.0 (KiCad), see LICENSE and ATTRIBUTION.md in this folder"
    copyrights = next(root.glob("**/kicad-packages3d/copyright"))
    holders = debian_holders(copyrights.read_text(encoding="utf-8"))
    credits = [f"{item.name}: {copyright_of(item, holders)}" for item in chosen]
    write(source, out, "Debian's kicad-packages3d 6.0.10", LICENSE, credits)


def build_furniture(root: Path, out: Path) -> None:
    """The same for furniture: all models of the core classes."""
    source = sweethome3d_source(root)
    source.items = [item for item in source.items if item.extra["core"] == "1"]
    source.classes = sorted({item.cls for item in source.items})
    source.name = FURNITURE
    source.licence = "CC0-1.0 and CC-BY-3.0, see LICENSE and ATTRIBUTION.md in this folder"
    credits = [
        f"{item.extra['title']} ({item.name}): {item.extra['creator'] or 'not named'}, {item.extra['licence']}"
        for item in source.items
    ]
    write(source, out, "Debian's sweethome3d-furniture 1.8", FURNITURE_LICENSE, credits)


def write(source: Source, out: Path, origin: str, licence: str, credits: list[str]) -> None:
    """Sample a source's models, and write licence and attribution beside them."""
    count = len(source.items)
    summary = pack(source, out, POINTS, SEED, overwrite=True, origin=origin, shard_size=count)
    if summary.failures:
        raise SystemExit(f"{len(summary.failures)} shapes failed: {summary.failures[0]}")
    for name in (FAILURES, SOURCES):
        (out / name).unlink()
    head = f"# Attribution\n\nThe {count} models of this sample and their copyright holders; licence: see LICENSE.\n"
    write_text(out / "ATTRIBUTION.md", "\n".join([head, *(f"- {line}" for line in credits), ""]))
    write_text(out / "LICENSE", licence)
    print(f"{summary.clouds} shapes at {out}, fingerprint {summary.fingerprint}")


if __name__ == "__main__":
    main()
