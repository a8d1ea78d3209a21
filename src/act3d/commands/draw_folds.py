"""`act3d draw-folds`: few-shot tasks drawn from a labelled dataset, kept in the released layout."""

from dataclasses import dataclass
from pathlib import Path

from act3d.settings.tasks import FoldsConfig, check_disjoint
from act3d.settings.training import DataConfig, option, validate


@dataclass(frozen=True)
class FoldData:
    """The labelled clouds that folds are drawn from."""

    root: str = option("sample", 'dataset folder, as `act3d prepare` or a release made it; "sample" = the shipped one')
    split: str = option("train", "split that training shapes are drawn from")
    test_split: str = option("test", "split that test shapes are drawn from")
    subset: str = option("", 'a named part, such as "core", or the variant of ScanObjectNN; empty = all of it')


DATA = FoldData()
TASKS = FoldsConfig()


def draw_folds(data: FoldData = DATA, tasks: FoldsConfig = TASKS, out: str = "data/ModelNetFewshot") -> list[Path]:
    """Draw few-shot folds and keep them.

    Writes {way}way_{shot}shot/{fold}.pkl as the released folds of ModelNet40 are laid out, from ModelNet40 or any
    labelled dataset with enough classes, with all stored points. What is drawn depends on the dataset, tasks.draw_seed
    and the fold's number only, so a fold that is there already is left alone. `act3d fewshot --data.root OUT` runs
    them; they are the folds that it would draw by itself.

    Args:
        data: the labelled clouds.
        tasks: settings, numbers and seed of the folds.
        out: folder to write to.

    Returns:
        The files that were written now.

    Raises:
        ConfigError: a setting out of its bounds, or one split both for training and for testing.
        InputError: data that cannot be used, too few classes, or `out` holds folds of something else.
    """
    validate({"data": data, "tasks": tasks})
    check_disjoint(data.split, data.test_split, "data.test_split")
    from act3d.commands.fewshot import check_possible
    from act3d.data import fewshot
    from act3d.evaluation.protocol import open_stored

    source = DataConfig(root=data.root, subset=data.subset, points=1)  # all stored points, however many
    train, test = open_stored(source, data.split), open_stored(source, data.test_split)
    check_possible(train, test, tasks)
    base = Path(out)
    fewshot.keep_record(base, train, test, tasks.draw_seed, tasks.queries)
    written, there = [], 0
    for way, shot, fold in ((w, s, f) for w in tasks.ways for s in tasks.shots for f in tasks.folds):
        path = fewshot.file_of(base, way, shot, fold)
        if path.exists():
            there += 1
            continue
        task = fewshot.make_fold(train, test, way, shot, fold, tasks.draw_seed, tasks.queries)
        written.append(fewshot.write_fold(base, task, way, shot, fold))
        print(f"{path}: {len(task.train)} + {len(task.test)} shapes of {train.points} points")
    new = f"{len(written)} fold{'' if len(written) == 1 else 's'} written"
    print(f"{train.name}: {new} to {base}" + (f", {there} there already" if there else ""))
    return written
