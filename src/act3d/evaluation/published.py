"""Published numbers to show beside ours, in percent; most select the epoch on the test set."""

METHODS = {"point_mae": "Point-MAE", "point_bert": "Point-BERT", "student": "ACT", "recon": "ReCon"}

# Column -> method -> as published.
RESULTS: dict[str, dict[str, str]] = {
    "scanobjectnn-objbg": {"Point-MAE": "90.02", "ACT": "93.29", "ReCon": "95.35"},
    "scanobjectnn-objonly": {"Point-MAE": "88.29", "ACT": "91.91", "ReCon": "93.80"},
    "scanobjectnn-hardest": {"Point-MAE": "85.18", "ACT": "88.21", "ReCon": "91.26"},
    "modelnet40 1024": {"Point-MAE": "93.8", "ACT": "93.7", "ReCon": "94.5"},
    "fewshot 5w10s": {"Point-MAE": "96.3±2.5", "ACT": "96.8±2.3", "ReCon": "97.3±1.9"},
    "fewshot 5w20s": {"Point-MAE": "97.8±1.8", "ACT": "98.0±1.4", "ReCon": "98.9±1.2"},
    "fewshot 10w10s": {"Point-MAE": "92.6±4.1", "ACT": "93.3±4.0", "ReCon": "93.3±3.9"},
    "fewshot 10w20s": {"Point-MAE": "95.0±3.0", "ACT": "95.6±2.8", "ReCon": "95.8±3.0"},
    "s3dis Area_5": {"ACT": "61.2"},  # mIoU
}


def published(dataset: str, points: int | None = None, setting: str = "") -> dict[str, str]:
    """Published numbers by method for a dataset; for few-shot on ModelNet40, of a setting such as "5w10s"."""
    if setting:
        return RESULTS.get(f"fewshot {setting}", {}) if dataset.startswith("modelnet40") else {}
    return RESULTS.get(f"{dataset} {points}", RESULTS.get(dataset, {}))
