"""ShapeNet-55 as released: `ShapeNet-55/{train,test}.txt` beside a folder with one `.npy` cloud a model."""

import hashlib
from pathlib import Path

import numpy as np

from act3d.data.clouds import CloudDataset, Stored, choose_points
from act3d.data.layout import Found, Layout, Wanted, check_by_opening, wanted_splits
from act3d.data.reading import first_base, open_npy, read_lines
from act3d.errors import InputError

LISTS = "ShapeNet-55"
# The documentation and the archive spell the folder of clouds differently.
CLOUDS = ("shapenet_pc", "shapenet_pc_masksurf_with_normal")
SPLITS = ("train", "test")

SYNSETS = {
    "02691156": "airplane", "02747177": "trash bin", "02773838": "bag", "02801938": "basket", "02808440": "bathtub",
    "02818832": "bed", "02828884": "bench", "02843684": "birdhouse", "02871439": "bookshelf", "02876657": "bottle",
    "02880940": "bowl", "02924116": "bus", "02933112": "cabinet", "02942699": "camera", "02946921": "can",
    "02954340": "cap", "02958343": "car", "02992529": "cellphone", "03001627": "chair", "03046257": "clock",
    "03085013": "keyboard", "03207941": "dishwasher", "03211117": "display", "03261776": "earphone",
    "03325088": "faucet", "03337140": "file cabinet", "03467517": "guitar", "03513137": "helmet", "03593526": "jar",
    "03624134": "knife", "03636649": "lamp", "03642806": "laptop", "03691459": "loudspeaker", "03710193": "mailbox",
    "03759954": "microphone", "03761084": "microwave", "03790512": "motorbike", "03797390": "mug",
    "03928116": "piano", "03938244": "pillow", "03948459": "pistol", "03991062": "flowerpot", "04004475": "printer",
    "04074963": "remote control", "04090263": "rifle", "04099429": "rocket", "04225987": "skateboard",
    "04256520": "sofa", "04330267": "stove", "04379243": "table", "04401088": "telephone", "04460130": "tower",
    "04468005": "train", "04530566": "vessel", "04554684": "washer",
}  # fmt: skip


def find_base(root: Path) -> Path | None:
    """The folder that holds the lists: `root`, or `ShapeNet55-34` in it; None if they are not there."""
    return first_base(root, ("ShapeNet55-34",), [f"{LISTS}/{split}.txt" for split in SPLITS])


def read_list(path: Path) -> list[str]:
    """The file names in one list, `synset-model.npy` each."""
    names = read_lines(path)
    wrong = [name for name in names if "-" not in name or not name.endswith(".npy") or "/" in name]
    if wrong:
        raise InputError(f"{path}: line {wrong[0]!r} is not of the form synset-model.npy")
    return names


class ShapeNet55(CloudDataset):
    """The released ShapeNet-55. See `CloudDataset` for attributes and batches; classes are names of synsets.

    Args:
        root: `ShapeNet55-34`, or the folder that holds it.
        split: "train", "test", "train+test", or None for both.
        points: Points per cloud; all (8192) by default.
        seed: Seed of the random subsets.
        normalize: "unit_sphere" or "none".

    Raises:
        InputError: a list or a cloud is missing or damaged, or a cloud has fewer than `points` points.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        points: int | None = None,
        seed: int = 0,
        normalize: str = "unit_sphere",
    ):
        super().__init__(seed, normalize)
        base = find_base(Path(root))
        if base is None:
            raise InputError(f"{root} does not hold {LISTS}/train.txt")
        wanted, lists = wanted_splits("ShapeNet-55", SPLITS, split), base / LISTS
        self.folder = next((base / name for name in CLOUDS if (base / name).is_dir()), base / CLOUDS[0])
        listed = {name: read_list(lists / f"{name}.txt") for name in wanted}
        self.files = [file for files in listed.values() for file in files]
        self._check_files()
        self.name = "shapenet55"
        self.names = [file.removesuffix(".npy") for file in self.files]
        self.split = [name for name, files in listed.items() for _ in files]
        # Every list together decides labels and fingerprint, so that a split alone gets the same ones.
        every = [file for s in SPLITS if (path := lists / f"{s}.txt").is_file() for file in read_list(path)]
        synsets = sorted({file.split("-")[0] for file in every})
        self.classes = [SYNSETS.get(synset, synset) for synset in synsets]
        place = {synset: i for i, synset in enumerate(synsets)}
        self.labels = np.array([place[file.split("-")[0]] for file in self.files], dtype=np.int64)
        self.parts, self.class_parts = [], {}
        self.points = len(self._load(0)) if points is None else points
        self.fingerprint = _fingerprint(every)
        self.describe(licence="ShapeNet terms", source="ShapeNet55-34")

    def _check_files(self) -> None:
        if not self.files:
            raise InputError(f"the lists beside {self.folder} are empty")
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is missing (also looked for {CLOUDS[1]})")
        there = {path.name for path in self.folder.iterdir()}
        missing = [file for file in self.files if file not in there]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(f"{self.folder} lacks {missing[0]}{more} of {len(self.files)} listed clouds")

    def _load(self, row: int) -> np.ndarray:
        path = self.folder / self.files[row]
        cloud = open_npy(path)
        if cloud.ndim != 2 or cloud.shape[1] < 3 or cloud.dtype.kind not in "iuf":
            raise InputError(f"{path} has shape {cloud.shape}; expected (points, 3 or more)")
        return cloud[:, :3]

    def read(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, None]:
        points = np.empty((len(rows), self.points, 3), dtype=np.float32)
        for place, row in enumerate(rows.tolist()):
            cloud = self._load(row)
            if len(cloud) < self.points:
                raise InputError(f"{self.folder / self.files[row]} has {len(cloud)} points, {self.points} are needed")
            # Reading the file whole is faster than thousands of picks through the memory map.
            points[place] = np.asarray(cloud)[choose_points(self.seed, epoch, row, len(cloud), self.points)]
        return points, None

    def stored_alike(self) -> Stored | None:
        # Files of one size hold clouds of one size: 50 000 headers need not be read.
        if len({(self.folder / file).stat().st_size for file in self.files}) > 1:
            return None
        first = self._load(0)
        return Stored(len(first), np.dtype(np.float16 if first.dtype == np.float16 else np.float32), ordered=False)

    def read_whole(self, rows: np.ndarray) -> tuple[np.ndarray, None]:
        return np.stack([np.asarray(self._load(row)) for row in rows.tolist()]), None


def _fingerprint(files: list[str]) -> str:
    """Of the lists only: hashing 50 000 files on every start would cost minutes."""
    return hashlib.sha256("\n".join(files).encode()).hexdigest()[:16]


def _open(base: Path, wanted: Wanted) -> ShapeNet55:
    return ShapeNet55(base, wanted.split, wanted.points, wanted.seed, wanted.normalize or "unit_sphere")


def _check(base: Path) -> list[Found]:
    return [check_by_opening(Found("ShapeNet-55", command="autoencode"), lambda split: ShapeNet55(base, split), SPLITS)]


LAYOUT = Layout("ShapeNet-55", find_base, _open, _check)
