"""Kills, signals, full disks and second commands. Each fault yields what was lost every time, "" for nothing."""

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load_file

from act3d.files import read_metrics
from tests.faults.children import Child, Ended, killed_at, moments, must, run, seconds_of, small_files
from tests.fixtures.packed import write_dataset

COMMON = """
data: {points: 64, batch_size: 4, val_fraction: 0.2}
optim: {lr: 0.001, warmup_epochs: 1}
trainer: {epochs: 3, log_every: 1, save_every_steps: 1, validate_every: 1}
"""
OWN = {
    "autoencode": "autoencoder: {patches: 8, patch_size: 8, width: 16, codes: 16, graph_width: 32, folding_width: 16}\n"
    "teacher: {name: none}\nschedule: {temperature_steps: 6, kl_delay: 2, kl_steps: 4}\n",
    "pretrain": "student: {width: 16, depth: 2, heads: 2, decoder_depth: 1, decoder_heads: 2, shallow_block: 1}\n",
    "finetune": "classifier: {patches: 8, patch_size: 8, width: 16, depth: 2, heads: 2}\nselect: best\n",
}


class Stage:
    """A place with tiny data and settings, and a finished run of every kind, to compare with."""

    def __init__(self, place: Path, kinds: tuple[str, ...] = tuple(OWN)) -> None:
        self.place, self.data = place, write_dataset(place / "shapes")
        self.started: dict[str, list[str]] = {}
        self.seconds: dict[str, float] = {}
        for kind in kinds:
            config = place / f"{kind}.yaml"
            config.write_text(COMMON + OWN[kind])
            words = [kind, "--config", str(config), "--data.root", str(self.data)]
            if kind == "pretrain":
                words += ["--teacher.checkpoint", str(self.whole("autoencode"))]
            if kind == "finetune":
                words += ["--checkpoint", str(self.whole("pretrain"))]
            self.started[kind] = words
            self.seconds[kind] = seconds_of([*words, "--out", str(self.whole(kind))])

    def whole(self, kind: str) -> Path:
        """The folder of the run that nothing disturbed."""
        return self.place / f"whole-{kind}"

    def words(self, kind: str, out: Path) -> list[str]:
        """Begin a run, or go on with it."""
        if holds_run(out):
            return [kind, "--resume", str(out)]
        return [*self.started[kind], "--out", str(out)]


def holds_run(out: Path) -> bool:
    return any((out / name).exists() for name in ("config.yaml", "results.json", "checkpoints/last.ckpt"))


def difference(one: Path, other: Path) -> str:
    """What differs between two finished runs; "" for nothing."""
    for path in sorted((one / "checkpoints").glob("*.safetensors")):
        ours, theirs = load_file(path), load_file(other / "checkpoints" / path.name)
        if ours.keys() != theirs.keys() or any(not ours[key].equal(theirs[key]) for key in ours):
            return f"other weights in {path.name}"
    kept = [
        [{k: v for k, v in row.items() if k != "clouds_per_s"} for row in read_metrics(folder / "metrics.csv")]
        for folder in (one, other)
    ]
    if kept[0] != kept[1]:
        return "other rows in metrics.csv"
    metrics = [json.loads((folder / "results.json").read_text())["metrics"] for folder in (one, other)]
    return "" if metrics[0] == metrics[1] else "other numbers in results.json"


# ------------------------------------------------------------------ runs


def killed_runs(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """SIGKILL at a random moment, up to three times a run; then --resume must give the run that was never disturbed."""
    when = moments(1, stage.seconds[kind], times)
    number = 0
    while when:
        out, number = stage.place / f"killed-{kind}-{number}", number + 1
        struck = 0
        for _ in range(min(3, len(when))):
            if not killed_at(stage.words(kind, out), when.pop()):
                break
            struck += 1
        result = finished_equal(stage, kind, out)
        yield from [result] + [""] * (struck - 1) if struck else []


def finished_equal(stage: Stage, kind: str, out: Path) -> str:
    ended = run(stage.words(kind, out))
    if ended.code:
        return f"{out.name}: cannot go on: {ended.said[-300:]}"
    different = difference(stage.whole(kind), out)
    return f"{out.name}: {different}" if different else ""


def signalled_runs(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """SIGHUP, SIGINT, SIGUSR1, SIGTERM: exit code 128 + signal, everything saved, and going on gives the same run."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM)
    for i in range(times):
        number, out = numbers[i % len(numbers)], stage.place / f"signalled-{kind}-{i}"
        child = Child(stage.words(kind, out))
        state = out / "checkpoints" / "last.ckpt"
        while child.code is None and not state.exists():
            time.sleep(0.005)
        if child.code is None:
            child.kill(number)
        ended = child.wait()
        if ended.code not in (0, 128 + number) or "Traceback" in ended.said:
            yield f"{number.name}: exit code {ended.code}: {ended.said[-300:]}"
        elif ended.code:
            yield finished_equal(stage, kind, out)


def damaged_states(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """last.ckpt with a flipped byte, cut short, empty or gone: the state before it takes its place."""
    draw = random.Random(2)
    for i in range(times):
        out = stage.place / f"damaged-{kind}-{i}"
        path = out / "checkpoints" / "last.ckpt"
        child = Child(stage.words(kind, out))
        while child.code is None and not (path.exists() and path.with_name("previous.ckpt").exists()):
            time.sleep(0.005)
        if child.code is None:
            child.kill()
        child.wait()
        if (out / "results.json").exists() or not path.exists():
            continue  # too late, or between the two renames
        data = bytearray(path.read_bytes())
        if i % 4 == 0:
            data[draw.randrange(len(data) // 4, len(data) // 2)] ^= 0xFF
        path.write_bytes(data if i % 4 == 0 else data[: len(data) // 2] if i % 4 == 1 else b"")
        if i % 4 == 3:
            path.unlink()
        if i % 2:  # and a kill soon after going on, when only one good state is left
            killed_at(stage.words(kind, out), stage.seconds[kind] * draw.uniform(0, 0.5))
        yield finished_equal(stage, kind, out)


def killed_extensions(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """A finished run made longer, and killed: its results stay until there are those of the longer one."""
    out = stage.place / f"extended-{kind}"
    must([*stage.started[kind], "--out", str(out), "--trainer.epochs", "1"])
    epochs = 1
    for moment in moments(3, stage.seconds[kind], times):
        struck = killed_at([kind, "--resume", str(out), "--trainer.epochs", str(epochs + 2)], moment)
        try:
            found = json.loads((out / "results.json").read_text())["metrics"]["epochs"]
        except (OSError, ValueError, KeyError) as error:
            yield f"results.json: {error!r}"
            return
        if found not in (epochs, epochs + 2):
            yield f"results of {found} epochs, neither {epochs} nor {epochs + 2}"
        elif struck:
            yield ""
        must([kind, "--resume", str(out), "--trainer.epochs", str(epochs + 2)])
        epochs += 2


def two_at_once(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """Two commands into one folder: one trains, the other ends in one line; settings and results are of one seed."""
    for i in range(times):
        out = stage.place / f"two-{kind}-{i}"
        words = [*stage.started[kind], "--out", str(out)]
        children = [Child([*words, "--seed", str(seed)]) for seed in (0, 5)]
        ended = [child.wait() for child in children]
        refused = [one for one in ended if one.code]
        said = json.loads((out / "results.json").read_text())["seed"] if (out / "results.json").exists() else None
        settled = (out / "config.yaml").read_text() if (out / "config.yaml").exists() else ""
        if len(refused) != 1 or not one_line(refused[0]) or f"seed: {said}" not in settled:
            yield f"seed of results {said}; ended: {[(one.code, one.said[-200:]) for one in ended]}"
        else:
            yield ""


def one_line(ended: Ended) -> bool:
    """Whether a command has said what is wrong in one line, without a traceback."""
    errors = [line for line in ended.said.splitlines() if line.startswith("act3d: error:")]
    return len(errors) == 1 and "Traceback" not in ended.said and "--debug shows where" not in errors[0]


def stray_launchers(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """Variables of a launcher that is not there: one sentence, and no folder begun."""
    worlds: list[dict[str, str]] = [
        {"RANK": "1"}, {"LOCAL_RANK": "1"}, {"WORLD_SIZE": "2", "RANK": "1"}, {"RANK": "x"}, {"NODE_RANK": "1"},
        {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "RANK": "3"}, {"RANK": ""}, {"LOCAL_RANK": "-1"},
    ]  # fmt: skip
    for i in range(times):
        world, out = worlds[i % len(worlds)], stage.place / f"stray-{kind}-{i}"
        ended = run([*stage.started[kind], "--out", str(out)], environment=world)
        fine = (ended.code == 0 and (out / "results.json").exists()) or (one_line(ended) and not out.exists())
        yield "" if fine else f"{world}: exit code {ended.code}: {ended.said[-300:]}"


# ------------------------------------------------------------------ full disks


def limited_files(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """The system refuses files above some size: one line with the file's name; with room, the run goes on."""
    largest = max(path.stat().st_size for path in stage.whole(kind).rglob("*") if path.is_file())
    for i in range(times):
        out, limit = stage.place / f"limited-{kind}-{i}", random.Random(i).randrange(100, largest)
        ended = run(stage.words(kind, out), prepare=small_files(limit))
        yield _after_full(stage, kind, out, ended)


def full_disks(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """A file system of a few pages: "no space left: PATH", exit code 1, and with room again the run goes on."""
    size = sum(path.stat().st_size for path in stage.whole(kind).rglob("*") if path.is_file()) // 1024
    for i in range(times):
        with tmpfs(stage.place / f"disk-{kind}-{i}", kib=random.Random(i).randrange(8, size)) as disk:
            ended = run(stage.words(kind, disk / "run"))
            if not ended.code:
                continue  # it had room enough
            if "no space left: " not in ended.said:
                yield f"exit code {ended.code}: {ended.said[-300:]}"
                continue
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            yield _after_full(stage, kind, disk / "run", ended)


def _after_full(stage: Stage, kind: str, out: Path, ended: Ended) -> str:
    if ended.code and not one_line(ended):
        return f"exit code {ended.code}: {ended.said[-300:]}"
    if ended.code and str(out) not in ended.said:
        return f"the file is not named: {ended.said[-300:]}"
    return finished_equal(stage, kind, out) if ended.code else ""


@contextmanager
def tmpfs(place: Path, kib: int) -> Iterator[Path]:
    """A file system of its own size.

    Raises:
        PermissionError: we may not mount.
    """
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        raise PermissionError(done.stderr.decode())
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
