"""The card of a model on the Hugging Face Hub, made from its checkpoint's header and its run's results."""

import json
from pathlib import Path
from typing import Any

from act3d.errors import InputError
from act3d.files import read_json
from act3d.tables import trained_text

# Metric of act3d -> type and name among the Hub's.
_METRICS = {
    "oa": ("accuracy", "overall accuracy"),
    "macc": ("accuracy", "mean class accuracy"),
    "miou": ("mean_iou", "mean IoU"),
    "instance_miou": ("mean_iou", "instance mIoU"),
    "class_miou": ("mean_iou", "class mIoU"),
    "probe": ("accuracy", "linear probe"),
    "zero_shot": ("accuracy", "zero-shot accuracy"),
}
_TASKS = {"classifier": "point-cloud-classification", "segmenter": "point-cloud-segmentation"}


def results_of(path: Path | None) -> dict[str, Any]:
    """What a run says of its weights, as facts of a checkpoint: metrics, and how many parameters it trained; {} for
    weights outside a finished run."""
    file = path.parent.parent / "results.json" if path is not None and path.parent.name == "checkpoints" else None
    if file is None or not file.is_file():
        return {}
    try:
        results = read_json(file)
        found = {k: v for k, v in results["metrics"].items() if k in _METRICS and isinstance(v, int | float)}
    except (InputError, KeyError, TypeError, AttributeError):
        raise InputError(f"{file} is damaged: it has no metrics; remove it, or the card would miss them") from None
    counts = {"parameters": results["parameters"]} if results.get("parameters") else {}
    return ({"metrics": found} if found else {}) | counts


def model_index(kind: str, meta: dict[str, Any]) -> list[dict[str, Any]]:
    """The results in the form that the Hub reads (`model-index`); empty without results."""
    numbers = {name: value for name, value in (meta.get("metrics") or {}).items() if name in _METRICS}
    if not numbers:
        return []
    data, protocol = meta.get("data") or {}, meta.get("protocol_name") or meta.get("protocol") or "not recorded"
    name = str(data.get("name", "not recorded"))
    results = {
        "task": {"type": _TASKS.get(kind, "feature-extraction")},
        "dataset": {"type": name, "name": name, "revision": str(data.get("fingerprint", "none"))},
        "metrics": [
            {"type": _METRICS[metric][0], "name": f"{_METRICS[metric][1]}, %, protocol {protocol}", "value": value}
            for metric, value in numbers.items()
        ],
    }
    return [{"name": f"act3d {kind}", "results": [results]}]


def model_card(header: dict[str, Any]) -> str:
    """The card of a native checkpoint in Markdown, from its header: data, protocol, results, licence, how to use it."""
    kind, meta = header["kind"], header.get("meta") or {}
    data = meta.get("data") or {}
    licence = meta.get("licence") or "not declared"
    known = {"mit", "apache-2.0", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0"}
    tag = str(licence).lower().replace(" ", "-")
    front = ["---", "library_name: act3d", "tags: [point-cloud, 3d, act]"]
    front += [f"license: {tag}" if tag in known else "license: other"]
    front += [f"model-index: {json.dumps(index)}" for index in [model_index(kind, meta)] if index] + ["---", ""]
    results = {k: v for k, v in meta.items() if isinstance(v, int | float) and k not in ("points", "seed", "scale")}
    results |= meta.get("metrics") or {}
    rows = [
        ("Kind", kind),
        ("Data", f"{data.get('name', 'not recorded')} (fingerprint `{data.get('fingerprint', 'none')}`)"),
        ("Points a cloud", meta.get("points", "not recorded")),
        ("Normalisation", f"{meta.get('normalization', 'not recorded')}, files' up axis {meta.get('source_up', '?')}"),
        ("Protocol", meta.get("protocol", "not recorded")),
        *([("Trained", trained_text(meta["parameters"]))] if meta.get("parameters") else []),
        ("Licence of the data", licence),
        ("act3d", header.get("act3d", "")),
    ]
    text = [*front, f"# A 3D {kind} trained with act3d", ""]
    text += ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows), ""]
    if results:
        text += ["## Results", "", "| | |", "|---|---|", *(f"| {k} | {_cell(v)} |" for k, v in results.items()), ""]
    if meta.get("classes"):
        text += ["## Classes", "", ", ".join(map(_cell, meta["classes"])), ""]
    use = {"classifier": 'model.predict("chair.obj")', "segmenter": 'model.segment("chair.obj", category)'}
    use |= {"autoencoder": 'model.tokenize("chair.obj")'}
    call = use.get(kind, 'model.embed("chair.obj")')
    text += ["## Use", "", "```python", "import act3d", 'model = act3d.from_pretrained("OWNER/NAME")', call, "```", ""]
    text += ["## Architecture", "", "```", *(f"{k}: {v}" for k, v in header["config"].items()), "```", ""]
    return "\n".join(text)


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
