"""Weights from the Hugging Face Hub: the one file of a repository that `act3d.push_to_hub` wrote."""

from pathlib import Path
from typing import Any

from act3d.errors import CheckpointError, MissingDependency
from act3d.installing import how_to_install

FILE = "model.safetensors"


def fetch(name: str, **options: Any) -> Path:
    """Download a model's file, unless it is in huggingface_hub's cache, and return where it is.

    Args:
        name: `OWNER/NAME`.
        options: For huggingface_hub: revision, token, cache_dir, local_files_only ...

    Raises:
        CheckpointError: There is no such repository or file, or no network.
        MissingDependency: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingDependency(f"the Hub needs huggingface_hub: {how_to_install('hub')}") from error
    try:
        return Path(hf_hub_download(name, FILE, **options))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{name}: cannot be had from the Hub ({reason})") from error
