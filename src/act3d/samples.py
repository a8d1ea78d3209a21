"""The datasets that ship inside the package: their names, and where they lie. Without torch."""

from pathlib import Path

SAMPLE = "sample"
FURNITURE = "sample-furniture"
SAMPLES = {SAMPLE: "sample", FURNITURE: "sample_furniture"}  # name -> folder


def sample_root(name: str = SAMPLE) -> Path:
    """Return the folder of a sample."""
    return Path(__file__).parent / "data" / SAMPLES[name]
