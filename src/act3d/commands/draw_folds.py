"""`act3d draw-folds`: few-shot tasks drawn from a labelled dataset, kept in the released layout."""

from pathlib import Path

from act3d.files import one_writer
from act3d.lines import say
from act3d.settings.command import command
from act3d.settings.data import CloudChoice
from act3d.settings.tasks import DrawFoldsSettings


@command
def draw_folds(settings: DrawFoldsSettings) -> list[Path]:
    """Draw few-shot folds and keep them.

    Returns:
        The files that were written now.

    Raises:
        ConfigError: a setting out of its bounds, or one split both for training and for testing.
        InputError: data that cannot be used, too few classes, or `out` holds folds of something else.
    """
    data, tasks = settings.data, settings.tasks
    from act3d.data import fewshot
    from act3d.evaluation.fewshot import possible_queries
    from act3d.evaluation.protocol import open_stored

    source = CloudChoice(root=data.root, subset=data.subset)
    train, test = open_stored(source, data.split), open_stored(source, data.test_split)
    queries = possible_queries(train, test, tasks)
    base = Path(settings.out)
    with one_writer(base):
        fewshot.keep_record(base, train, test, tasks.draw_seed, queries)
        written, there = [], 0
        for way, shot, fold in ((w, s, f) for w in tasks.ways for s in tasks.shots for f in tasks.folds):
            path = fewshot.file_of(base, way, shot, fold)
            if path.exists():
                there += 1
                continue
            task = fewshot.make_fold(train, test, way, shot, fold, tasks.draw_seed, queries)
            written.append(fewshot.write_fold(base, task, way, shot, fold))
            say(f"{path}: {len(task.train)} + {len(task.test)} shapes of {train.points} points")
    new = f"{len(written)} fold{'' if len(written) == 1 else 's'} written"
    say(f"{train.name}: {new} to {base}" + (f", {there} there already" if there else ""))
    return written
