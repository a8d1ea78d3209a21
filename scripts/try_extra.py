"""Do with act3d what one of its extras is for; fails where the extra is not installed.

    python scripts/try_extra.py NAME

`scripts/try_release.sh` runs it in a bare environment, before and after the extra is installed. It may import helpers
of tests/ that write small files, and of act3d only what is installed. `s3` needs an S3 server: AWS_ENDPOINT_URL.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest.mock
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # for tests/; act3d itself is the installed one


def command(*words: str) -> None:
    """Run a command of act3d, and end with it if it fails."""
    from act3d.cli import main

    if code := main(list(words)):
        sys.exit(code)


def boxes(folder: Path) -> Path:
    """Twelve boxes of two classes."""
    from tests.data.helpers import CUBE_VERTICES, write_obj

    for number in range(12):
        write_obj(folder / ("flat", "tall")[number % 2] / f"{number}.obj", CUBE_VERTICES * [1, 0.5 + number / 5, 1])
    return folder


def two_steps(kind: str, preset: str, folder: Path, *words: str) -> None:
    """Two steps of training on twenty random clouds."""
    from tests.data.helpers import write_packed

    root = write_packed(folder / "set", points=1024, parts=False)
    given = ("--out", str(folder / "run"), "--data.root", str(root), "--data.batch_size", "4")
    command(kind, "--config", preset, *given, "--trainer.max_steps", "2", *words)


def teacher(folder: Path, name: str) -> None:
    """Stage I around a teacher."""
    two_steps("autoencode", "small/autoencode", folder, "--teacher.name", name)


def logger(folder: Path, name: str) -> None:
    """A run without a teacher that a service of numbers is told of."""
    two_steps("pretrain", "small/pretrain-pointmae", folder, "--logger", f"csv,{name}")


def minilm(folder: Path) -> None:
    """Words for a shape, by the shipped encoder."""
    command(
        "predict", str(boxes(folder / "boxes")), "--labels", "chair,cabinet,lamp", "--out", str(folder / "words.csv")
    )
    assert "cabinet" in (folder / "words.csv").read_text()


def image(folder: Path) -> None:
    """A teacher for images."""
    teacher(folder, "imgfocus")


def hf(folder: Path) -> None:
    """A teacher that transformers has written; random weights, as no network is needed then."""
    from transformers import ViTConfig, ViTModel

    sizes: dict[str, Any] = {"hidden_size": 48, "intermediate_size": 96, "image_size": 32, "patch_size": 16}
    ViTModel(ViTConfig(**sizes, num_hidden_layers=2, num_attention_heads=4)).save_pretrained(folder / "vit")
    teacher(folder, f"hf:{folder / 'vit'}")


def cad(folder: Path) -> None:
    """An assembly in STEP becomes clouds with a label for every part."""
    from tests.readers.step_files import Box, write_step

    parts = [Box("leg", (1, 1, 4), (1, 1, 0), (1, 0, 0)), Box("seat", (4, 4, 1), (0, 0, 4), (0, 0, 1))]
    for number in range(3):
        write_step(folder / "stools" / "stool" / f"{number}.step", parts)
    command("prepare", str(folder / "stools"), "--out", str(folder / "data"), "--parts", "groups", "--points", "256")


def las(folder: Path) -> None:
    """Compressed, labelled scans become rooms."""
    import laspy
    import numpy as np

    (folder / "classes.txt").write_text("1 ground\n2 plants\n")
    for split in ("train", "test"):
        scan = laspy.create(point_format=3, file_version="1.2")
        scan.xyz = np.random.default_rng(0).random((5000, 3)) * [4, 3, 2]
        scan.classification = 1 + (np.asarray(scan.z) > 1)
        (folder / "scans" / split).mkdir(parents=True)
        scan.write(folder / "scans" / split / "a.laz")
    words = ("--format", "scenes", "--classes", str(folder / "classes.txt"))
    command("prepare", str(folder / "scans"), "--out", str(folder / "data"), *words)


def draco(folder: Path) -> None:
    """A compressed glTF becomes an embedding."""
    import DracoPy
    import numpy as np

    from tests.data.helpers import CUBE_TRIANGLES, CUBE_VERTICES
    from tests.readers.helpers import Gltf

    file = Gltf()
    packed = DracoPy.encode(CUBE_VERTICES.astype(np.float32), CUBE_TRIANGLES.astype(np.uint32))
    about = {"bufferView": file.view(packed), "attributes": {"POSITION": 0}}
    file.primitive(CUBE_VERTICES, CUBE_TRIANGLES)["extensions"] = {"KHR_draco_mesh_compression": about}
    file.content["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    for accessor in file.content["accessors"]:
        del accessor["bufferView"]  # what Draco packed is the only copy
    command("embed", str(file.write(folder / "cube.glb")), "--out", str(folder / "cube.npz"))


def onnx(folder: Path) -> None:
    """The shipped encoder as ONNX, compared with PyTorch, then used."""
    command("export", "act3d-small", "--format", "onnx", "--out", str(folder / "small.onnx"), "--int8")
    command("embed", str(boxes(folder / "boxes")), "--backend", "onnx", "--out", str(folder / "boxes.npz"))


def fast(folder: Path) -> None:
    """Points of a large cloud, chosen by Numba: those that NumPy chooses."""
    import torch

    from act3d.geometry import farthest_point_sample
    from act3d.kernels import dispatch

    assert dispatch.numba_functions(), "Numba is not used"
    points = torch.rand(2, 8192, 3)
    chosen = farthest_point_sample(points, 512)
    with unittest.mock.patch.object(dispatch, "numba_functions", return_value=None):
        assert torch.equal(chosen, farthest_point_sample(points, 512))


def search(folder: Path) -> None:
    """The nearest shapes."""
    command("index", str(boxes(folder / "boxes")), "--out", str(folder / "index"))
    shape, page = folder / "boxes/flat/0.obj", folder / "found.html"
    command("search", str(shape), "--index", str(folder / "index"), "--page", str(page))


def asked(url: str) -> Any:
    """What a server answers."""
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def app(folder: Path) -> None:
    """The page of a library indexes it, answers, and ends when it is interrupted."""
    words = ["app", str(boxes(folder / "boxes")), "--show", "false"]
    started = subprocess.Popen([sys.executable, "-m", "act3d", *words], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    address = started.stdout.readline().split()
    try:
        assert address, "the app has ended"
        while (state := asked(address[0] + "/api/state"))["job"]["running"]:
            time.sleep(1)
        assert len(asked(address[0] + "/api/rows")["ids"]) == 12, state
    finally:
        started.send_signal(signal.SIGINT)
        assert started.wait(60) == 0, started.returncode


def parquet(folder: Path) -> None:
    """A table of embeddings."""
    command("embed", str(boxes(folder / "boxes")), "--out", str(folder / "boxes.parquet"))


def datasets(folder: Path) -> None:
    """The sample as rows of `datasets`, written, read and made a dataset again."""
    from datasets import load_from_disk

    from act3d.huggingface import from_datasets, to_datasets

    to_datasets("sample", folder / "cache").save_to_disk(folder / "saved")
    print(from_datasets(load_from_disk(folder / "saved"), folder / "back"))


def ray(folder: Path) -> None:
    """Shapes are read and embedded by workers of Ray."""
    source = str(boxes(folder / "boxes"))
    command("embed", source, "--out", str(folder / "boxes.npz"), "--engine", "ray", "--data.workers", "2")


class _Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does for one file."""

    content = b""

    def do_HEAD(self) -> None:  # the name is the library's
        self._answer()

    def do_GET(self) -> None:
        self._answer()
        self.wfile.write(self.content)

    def _answer(self) -> None:
        known = self.path == "/someone/small/resolve/main/model.safetensors"
        self.send_response(200 if known else 404)
        for name, value in {"Content-Length": len(self.content), "ETag": '"1"', "X-Repo-Commit": "0" * 40}.items():
            self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def hub(folder: Path) -> None:
    """Weights are written for the Hub, and fetched by huggingface_hub from a server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(folder / "cache")}
        os.environ["HF_HUB_DISABLE_XET"] = "1"
        import act3d as library

        saved = library.save_pretrained(library.load("act3d-small"), folder / "saved", licence="MIT")
        _Hub.content = (saved / "model.safetensors").read_bytes()
        threading.Thread(target=server.serve_forever).start()
        try:
            print(library.load("hub:someone/small"))
        finally:
            server.shutdown()


def s3(folder: Path) -> None:
    """A dataset at s3:// is checked and embedded."""
    import s3fs

    from tests.data.helpers import write_packed

    store = s3fs.S3FileSystem()
    store.mkdir("shapes")
    store.put(str(write_packed(folder / "set", points=256, parts=False)), "shapes/set", recursive=True)
    os.environ["ACT3D_CACHE"] = str(folder / "cache")
    command("check-data", "s3://shapes/set", "--page", "none")
    command("embed", "s3://shapes/set", "--out", str(folder / "set.npz"))


def wandb(folder: Path) -> None:
    """A run that Weights & Biases is told of, without its server."""
    os.environ["WANDB_MODE"] = "offline"
    logger(folder, "wandb")
    assert list(folder.rglob("*.wandb"))


def mlflow(folder: Path) -> None:
    """A run that MLflow is told of, in a file."""
    logger(folder, "mlflow")
    assert list(folder.rglob("mlflow.db"))


def trackio(folder: Path) -> None:
    """A run that trackio is told of, in files."""
    os.environ["TRACKIO_DIR"] = str(folder / "trackio")
    logger(folder, "trackio")
    assert list((folder / "trackio").rglob("*.db"))


def docs(folder: Path) -> None:
    """The whole site, strict."""
    words = ["build", "--strict", "--quiet", "--site-dir", str(folder / "site")]
    subprocess.run([sys.executable, "-m", "mkdocs", *words], cwd=ROOT, check=True)
    assert (folder / "site/index.html").is_file()


TRIED = {
    tried.__name__: tried
    for tried in (minilm, image, hf, cad, las, draco, onnx, fast, search, app, parquet, datasets, ray, hub, s3, wandb,
                  mlflow, trackio, docs)
}  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        TRIED[sys.argv[1]](Path(made))
