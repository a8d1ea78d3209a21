"""Files of the Hugging Face hub, from its local cache or fetched."""

import os
import socket
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from act3d.errors import InputError, MissingDependency
from act3d.installing import how_to_install


def fetch(repo: str, filename: str, revision: str | None = None) -> Path | None:
    """Path of a repository's file in the local cache, fetched first if it is not there.

    A cached file is used without asking the hub for a newer one, so that results stay the same.

    Returns:
        The path, or None if the repository has no such file.

    Raises:
        MissingDependency: huggingface_hub is not installed, or the file is not cached and the hub is out of reach.
        InputError: The repository does not exist, or is not open to you.
    """
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise MissingDependency(f"hf: and timm: teachers need huggingface_hub: {how_to_install('hf')}") from error
    try:
        cached = huggingface_hub.try_to_load_from_cache(repo, filename, revision=revision)
    except errors.HFValidationError as error:
        raise InputError(f"hf:{repo}: no such folder, and this cannot be an id on the hub (owner/name)") from error
    if isinstance(cached, str):
        return Path(cached)
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable(constants.ENDPOINT)
    if reason:
        if cached is not None:  # the cache remembers that the repository has no such file
            return None
        raise MissingDependency(_advice(repo, filename, reason))
    try:
        return Path(huggingface_hub.hf_hub_download(repo, filename, revision=revision))
    except errors.LocalEntryNotFoundError as error:
        raise MissingDependency(_advice(repo, filename, str(error.__cause__ or error))) from error
    except errors.EntryNotFoundError:
        return None
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"hf:{repo}: there is no such folder, and no such (open) repository on the hub") from error
    except errors.HfHubHTTPError as error:
        raise InputError(f"hf:{repo}: the hub does not hand out {filename}: {_first_line(error)}") from error


@lru_cache
def unreachable(endpoint: str) -> str:
    """The reason why the hub cannot be reached; "" if it can, or if there is a proxy, which cannot be asked.

    The hub's client retries for half a minute before it gives up; this takes five seconds at most.
    """
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return ""
    url = urlsplit(endpoint)
    port = url.port or (80 if url.scheme == "http" else 443)
    try:
        socket.create_connection((url.hostname or "", port), timeout=5).close()
    except OSError as error:
        return f"{url.hostname} cannot be reached ({error.strerror or error})"
    return ""


def _advice(repo: str, filename: str, reason: str) -> str:
    """Message for a file that can neither be found nor fetched."""
    return (
        f"{filename} of {repo} is not in the Hugging Face cache, and {reason.splitlines()[0]}: run "
        f"`hf download {repo}` where there is a network and bring the folder here (hf:FOLDER), or set HF_HOME to a "
        "cache that holds it"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
