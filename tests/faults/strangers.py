"""Hostile files and names among good ones, and files of our own that were damaged."""

import contextlib
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from act3d import checkpoints
from act3d.data import open_dataset
from act3d.engine.state import read_state
from act3d.errors import Act3dError, CheckpointError
from act3d.evaluation.comparison import describe
from act3d.evaluation.finished_runs import read_runs
from act3d.settings.layers import resolve
from act3d.settings.pretraining import PretrainSettings
from act3d.use.embeddings import read_embeddings
from act3d.use.index import open_index
from tests.faults.children import must, run
from tests.faults.fuzz_readers import mutate
from tests.faults.interrupted import Stage
from tests.faults.replaced import meshes
from tests.readers.helpers import HOSTILE

GOOD = 6
MEMORY = 4 << 30


def _mixed(place: Path) -> Path:
    """Good meshes with hostile files among them, which come first, between and last in every order."""
    meshes(place, GOOD)
    for folder in ("plate", "a first", "z last"):
        (place / folder).mkdir(exist_ok=True)
        for file in HOSTILE.iterdir():
            shutil.copy2(file, place / folder / file.name)
        os.mkfifo(place / folder / "pipe.obj")
        (place / folder / "zero.ply").symlink_to("/dev/zero")
    (place / "loop").symlink_to(place)
    return place


def hostile_prepare(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """All good files arrive, every hostile one is one line of failures.csv; the same on a rerun and with workers."""
    source = _mixed(stage.place / "mixed")
    for i in range(times):
        out = stage.place / f"from-mixed-{i}"
        words = ["prepare", str(source), "--out", str(out), "--points", "64", "--workers", str(1 + i % 2)]
        for _ in range(2):
            must(words)
            whole = open_dataset(out)
            yield "" if len(whole) == GOOD else f"{len(whole)} clouds of {GOOD}"


def hostile_embed(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """The same for `embed`."""
    source, out = _mixed(stage.place / "to-embed"), stage.place / "hostile.npz"
    for _ in range(times):
        for _ in range(2):
            must(["embed", str(source), "--checkpoint", str(stage.whole("pretrain")), "--out", str(out)])
            found = len(read_embeddings(out))
            yield "" if found == GOOD else f"{found} vectors of {GOOD}"


def hostile_index(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """The same for `index`, and for `search` with all of them as queries."""
    source, out = _mixed(stage.place / "to-index"), stage.place / "hostile-index"
    for _ in range(times):
        for _ in range(2):
            must(["index", str(source), "--checkpoint", str(stage.whole("pretrain")), "--out", str(out)])
        answer = stage.place / "hostile.json"
        must(["search", str(source), "--index", str(out), "--k", "1", "--json", str(answer)])
        answers = json.loads(answer.read_text())["answers"]
        right = sum(hits[0]["name"] == name for name, hits in answers.items())
        yield "" if right == GOOD == len(answers) else f"{right} of {len(answers)} queries find themselves, not {GOOD}"


def hostile_predict(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """The same for `predict`."""
    source, out = _mixed(stage.place / "to-predict"), stage.place / "hostile.csv"
    for _ in range(times):
        ended = run(["predict", str(source), "--checkpoint", str(stage.whole("finetune")), "--out", str(out)])
        rows = out.read_text().splitlines()[1:] if out.exists() else []
        yield "" if len(rows) == GOOD else f"exit code {ended.code}, {len(rows)} rows of {GOOD}: {ended.said[-300:]}"


NAMES = [
    b"line\nbreak.obj", b"line\nact3d: error: forged\r.obj", b"\x1b[31mred\x1b[0m.obj", b"[bold]markup[/bold].obj",
    b"[/nothing].obj", b"caf\xe9.obj", "right\u202eto left.obj".encode(), b"bell\x07.obj", b"-rf.obj", b"=1+1.obj",
    b"<script>alert(1)</script>.obj", b"comma,quote\".obj", b"%s{0}.obj", b" .obj", "\u2028.obj".encode(),
]  # fmt: skip


def names(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """Names that forge lines, steer a terminal, are markup or no UTF-8: of good files, bad files and classes."""
    for i in range(times):
        source = stage.place / f"names-{i}"
        meshes(source, 2)
        good = (source / "rod" / "box01.obj").read_bytes()
        for number, name in enumerate(NAMES):
            for folder in (b"odd", NAMES[(number + 1) % len(NAMES)][:-4]):
                path = os.path.join(os.fsencode(source), folder, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as file:
                    file.write(good)
                with open(path[:-4] + b"bad.obj", "wb") as file:
                    file.write(b"v 1 2\nf 1 2 3\n")
        count = 2 + 2 * len(NAMES)
        data, table, model = stage.place / f"named-{i}", stage.place / f"named-{i}.npz", str(stage.whole("pretrain"))
        folder = stage.place / f"named-index-{i}"
        for words in (
            ["prepare", str(source), "--out", str(data), "--points", "64"],
            ["check-data", str(data)],
            ["embed", str(source), "--checkpoint", model, "--out", str(table)],
            ["index", str(source), "--checkpoint", model, "--out", str(folder)],
            ["search", str(source), "--index", str(folder), "--page", str(stage.place / "page.html")],
            ["predict", str(source), "--checkpoint", str(stage.whole("finetune"))],
            ["predict", str(source), "--checkpoint", str(stage.whole("finetune")), "--out", str(data / "p.csv")],
        ):
            ended = run(words)
            raw = [c for c in ended.said if not c.isprintable() and c not in "\n\r"]
            lines = [line for line in ended.said.splitlines() if line.startswith("act3d: error")]
            fine = ended.code == 0 and not raw and not lines
            yield (
                ""
                if fine
                else f"{words[0]}: exit code {ended.code}, raw {raw[:3]}: {(lines or [ended.said])[-1][-200:]!r}"
            )
        for what, found in (("prepare", len(open_dataset(data))), ("embed", len(read_embeddings(table)))):
            yield "" if found == count else f"{what}: {found} of {count}"
        page = stage.place / "page.html"
        yield "search: markup in the page" if page.exists() and "<script>alert(1)" in page.read_text() else ""


# ------------------------------------------------------------------ damaged files of our own


def _released(stage: Stage, place: Path) -> Path:
    """A file as released trainers write it."""
    weights = checkpoints.load(stage.whole("pretrain")).model.state_dict()
    torch.save({"model": weights, "epoch": 3, "metrics": {"acc": 0.5}}, place / "released.pth")
    return place / "released.pth"


def _index(stage: Stage, place: Path) -> Path:
    out, source = place / "index", meshes(place / "meshes", 4)
    must(["index", str(source), "--checkpoint", str(stage.whole("pretrain")), "--out", str(out)])
    return out


def _table(suffix: str) -> Callable[[Stage, Path], Path]:
    def make(stage: Stage, place: Path) -> Path:
        out, source = place / f"table.{suffix}", meshes(place / "meshes", 4)
        must(["embed", str(source), "--checkpoint", str(stage.whole("pretrain")), "--out", str(out)])
        return out

    return make


def _copied(name: str) -> Callable[[Stage, Path], Path]:
    def make(stage: Stage, place: Path) -> Path:
        run = shutil.copytree(stage.whole("pretrain"), place / "run")
        (run / "checkpoints" / "previous.ckpt").unlink(missing_ok=True)
        return run / name

    return make


def _index_file(pattern: str) -> Callable[[Stage, Path], Path]:
    """A file in the table of an index: the newest that fits."""
    return lambda stage, place: sorted(_index(stage, place).glob(f"shapes.lance/{pattern}"), key=os.path.getmtime)[-1]


def _open_index(path: Path) -> None:
    folder = next(above.parent for above in path.parents if above.name == "shapes.lance")
    try:
        index = open_index(folder)
        index.nearest(index.vector(index.rows()[0].id), k=2)
    except CheckpointError as error:  # names the index's folder, not the file
        raise CheckpointError(f"{path.parent}: {error}") from error


# What is damaged: how to make it, and how it is read; the door gets the damaged file.
DOCUMENTS: dict[str, tuple[Callable[[Stage, Path], Path], Callable[[Path], object]]] = {
    "results.json": (_copied("results.json"), lambda path: describe(read_runs(path.parent)[0])),
    "config.yaml": (_copied("config.yaml"), lambda path: resolve(PretrainSettings, {}, [str(path)], {})),
    "config.yaml of a run compared": (_copied("config.yaml"), lambda path: describe(read_runs(path.parent)[0])),
    "last.safetensors": (_copied("checkpoints/last.safetensors"), checkpoints.load),
    "last.ckpt": (_copied("checkpoints/last.ckpt"), read_state),
    "a released .pth": (_released, checkpoints.load),
    "embeddings.npz": (_table("npz"), read_embeddings),
    "embeddings.parquet": (_table("parquet"), read_embeddings),
    "rows of an index": (_index_file("data/*.lance"), _open_index),
    "a version of an index": (_index_file("_versions/*.manifest"), _open_index),
    "the tag of an index": (_index_file("_refs/tags/current.json"), _open_index),
}


def damaged(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """A file of our own, changed at random: it is read, or refused by one line that names it or its folder."""
    make, read = DOCUMENTS[kind]
    place = stage.place / f"damaged {kind}"
    place.mkdir()
    path = make(stage, place)
    yield from _in_a_child(lambda: [_damage(path, read, number) for number in range(times)])


def _damage(path: Path, read: Callable[[Path], object], number: int) -> str:
    sound = path.read_bytes()
    path.write_bytes(mutate(sound, random.Random(number)))
    signal.alarm(30)
    try:
        read(path)
    except Act3dError as error:
        said = str(error)
        named = path.name in said or str(path.parent) in said
        return "" if named and "\n" not in said else f"change {number}: {said!r}"
    except BaseException as error:
        return f"change {number}: {type(error).__name__}: {str(error)[:100]}"
    finally:
        signal.alarm(0)
        path.write_bytes(sound)
    return ""


def _in_a_child(work: Callable[[], list[str]]) -> list[str]:
    """Work done where neither death nor memory matters."""
    receive, send = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        os.close(receive)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        signal.signal(signal.SIGALRM, _late)
        with contextlib.suppress(OSError), open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        try:
            answer = pickle.dumps(work())
        except BaseException as error:
            answer = pickle.dumps([repr(error)])
        with os.fdopen(send, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    found: list[str] = pickle.loads(answer) if answer else [f"the process died: {os.waitstatus_to_exitcode(status)}"]
    return found


def _late(number: int, frame: object) -> None:
    raise TimeoutError("took longer than 30 s")
