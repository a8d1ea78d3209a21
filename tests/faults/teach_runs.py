"""`act3d teach` killed in every step: the same command goes on; nothing finished is lost or made again."""

import json
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file

from act3d.use.index import open_index
from tests.faults.children import killed_at, killed_when, moments, run, seconds_of
from tests.faults.interrupted import Stage
from tests.faults.replaced import meshes

STAGE1 = """
autoencoder: {patches: 8, patch_size: 8, width: 16, codes: 16, graph_width: 32, folding_width: 16}
teacher: {name: none}
data: {points: 64, batch_size: 4}
optim: {warmup_epochs: 0}
trainer: {epochs: 3, log_every: 1, save_every_steps: 1, validate_every: 1}
"""
STAGE2 = """
student: {width: 16, depth: 1, heads: 2, decoder_depth: 1, decoder_heads: 2, shallow_block: 1}
data: {points: 64, batch_size: 4}
optim: {warmup_epochs: 0}
trainer: {epochs: 3, log_every: 1, save_every_steps: 1, validate_every: 0}
"""
# What appears first in each step, in the order of the steps.
SIGNS = (
    "files.json", "data/dataset.json", "stage1/config.yaml", "stage1/checkpoints/last.ckpt",
    "stage1/checkpoints/last.safetensors", "stage2/config.yaml", "stage2/checkpoints/last.ckpt",
    "stage2/checkpoints/last.safetensors", "probe/config.yaml", "probe/results.json", "index", "report.html",
)  # fmt: skip
FINISHED = ("data/dataset.json", "stage1/results.json", "stage2/results.json", "probe/results.json")


def killed_teaches(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """SIGKILL at the first sign of every step, then at random moments; the end is that of an undisturbed command."""
    source = meshes(stage.place / "for-teach", 20)
    for name, text in (("stage1", STAGE1), ("stage2", STAGE2)):
        (stage.place / f"teach-{name}.yaml").write_text(text)
    settings = [
        word for name in ("stage1", "stage2") for word in (f"--{name}", str(stage.place / f"teach-{name}.yaml"))
    ]
    whole = stage.place / "taught-whole"
    took = seconds_of(["teach", str(source), *settings, "--out", str(whole)])
    for number, strikes in enumerate((SIGNS, moments(7, took, times))):
        out = stage.place / f"taught-{number}"
        words = ["teach", str(source), *settings, "--out", str(out)]
        kept: dict[str, int] = {}
        for strike in strikes:
            struck = _killed_when(words, out / strike) if isinstance(strike, str) else killed_at(words, strike)
            now = {name: (out / name).stat().st_mtime_ns for name in FINISHED if (out / name).exists()}
            again = [name for name in kept if now.get(name) != kept[name]]
            kept = now
            if struck or again:
                yield f"{strike}: made again or lost: {', '.join(again)}" if again else ""
        ended = run(words)
        yield f"cannot go on: {ended.said[-300:]}" if ended.code else _different(whole, out)


def _killed_when(words: list[str], sign: Path) -> bool:
    """Start a command and kill it when a file appears; tell whether it was still running then."""
    before = sign.exists()
    return killed_when(words, lambda: not before and sign.exists())


def _different(whole: Path, out: Path) -> str:
    """What differs from the folder of an undisturbed command; "" for nothing."""
    for name in ("stage1", "stage2"):
        ours, theirs = (load_file(folder / name / "checkpoints" / "last.safetensors") for folder in (out, whole))
        if ours.keys() != theirs.keys() or any(not ours[key].equal(theirs[key]) for key in ours):
            return f"other weights of {name}"
    probes = [json.loads((folder / "probe" / "results.json").read_text())["metrics"] for folder in (out, whole)]
    if probes[0] != probes[1]:
        return "other numbers of the probe"
    counts = [len(open_index(folder / "index")) for folder in (out, whole)]
    return "" if counts[0] == counts[1] and (out / "report.html").exists() else f"{counts} shapes in the indexes"
