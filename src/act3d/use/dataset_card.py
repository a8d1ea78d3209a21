"""The card of a prepared dataset for the Hugging Face Hub, made from its dataset.json."""

import json
from pathlib import Path
from typing import Any

from act3d.data import folder_of
from act3d.data.description import read_description

_LICENCES = ("mit", "apache-2.0", "cc-by-4.0", "cc-by-3.0", "cc-by-sa-4.0", "cc0-1.0")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_card(root: str | Path) -> str:
    """Return the card of a prepared dataset, in Markdown with the front matter that the Hub reads.

    Args:
        root: the dataset's folder, or "sample".

    Raises:
        InputError: no prepared dataset is there.
    """
    about = read_description(folder_of(root))
    licence = str(about.get("licence") or "")
    tag = licence.lower().replace(" ", "-")
    clouds = sum(about["splits"].values())
    tasks = (["point-cloud-classification"] if about["classes"] else []) + (
        ["point-cloud-segmentation"] if about["parts"] else []
    )
    front: dict[str, Any] = {
        "pretty_name": about["name"],
        "license": tag if tag in _LICENCES else "other",
        "tags": ["point-cloud", "3d", "act3d", *tasks],
        "size_categories": [next((name for most, name in _SIZES if clouds < most), "n>1M")],
    }
    if front["license"] == "other":
        front["license_name"] = licence or "not declared"
    rows = {
        "Clouds": ", ".join(f"{split} {count}" for split, count in about["splits"].items()),
        "Points a cloud": f"{about['points']}, stored as {about['dtype']}",
        "Up axis": about["up"],
        "Normalization": f"{about['normalization']}; scale {about.get('scale') or 'as in the source'}",
        "Source": about.get("source") or "not recorded",
        "Licence": licence or "not declared",
        "Fingerprint": f"`{about['fingerprint']}`",
    }
    text = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in front.items()),
        "---",
        "",
        f"# {about['name']}",
        "",
    ]
    text += ["Point clouds of surfaces, prepared by act3d.", "", "| | |", "|---|---|"]
    text += [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    for title, names in (("Classes", about["classes"]), ("Parts", about["parts"])):
        text += ["", f"## {title}", "", ", ".join(map(_cell, names))] if names else []
    text += [
        "",
        "## Use",
        "",
        "```python",
        "import act3d",
        'clouds = act3d.open_dataset("FOLDER", split="train")',
        "```",
        "",
    ]
    return "\n".join(text)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
