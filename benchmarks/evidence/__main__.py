"""Runs the protocol of docs/results/protocol.md: `python -m benchmarks.evidence --help`."""

import argparse
import os
import sys
import time
from pathlib import Path

import torch

from act3d.commands.prepare import prepare
from act3d.data.description import DESCRIPTION
from act3d.engine.signals import Interrupted
from act3d.errors import Act3dError
from benchmarks.evidence import tables
from benchmarks.evidence.cuts import COLLECTIONS
from benchmarks.evidence.methods import CHOICES, METHODS, STAGES, Method, chain, recipe_digest
from benchmarks.evidence.openings import LOG, open_once, opened
from benchmarks.evidence.tasks import TASKS, Asked, Task, do
from benchmarks.evidence.training import Place, train_stage

BESIDE = ("plain", "random", "data_dependent", "point_mae")  # judged beside the candidates


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="what there is, and what is done")
    what.add_argument("--choose", action="store_true", help="judge candidates inside the training families")
    what.add_argument("--open-test", action="store_true", help="judge final recipes on the test families, once each")
    what.add_argument("--write", action="store_true", help="write tables and figures from the results")
    parser.add_argument("--only", action="append", metavar="METHOD", help="this row; may be given several times")
    parser.add_argument("--task", action="append", choices=list(TASKS), help="this task; may be given several times")
    parser.add_argument("--seeds", type=int, default=0, help="how many (default: 3 with --choose, else 5)")
    parser.add_argument("--seed", action="append", type=int, help="this seed only; may be given several times")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"), help="folder of everything")
    parser.add_argument("--pool", type=Path, default=Path("data/pool"), help="folder with furniture, kicad and ldraw")
    parser.add_argument("--unseen", type=Path, help="the unpacked package minetest-mod-homedecor; needed once")
    parser.add_argument("--log", type=Path, default=LOG, help="log of openings")
    options = parser.parse_args()
    options.seeds = options.seeds or (3 if options.choose else 5)
    known = METHODS | CHOICES
    for name in options.only or ():
        if name not in known:
            parser.error(f"--only {name}: there is no such row; see --list")
    return options


def rows(options: argparse.Namespace) -> list[Method]:
    """Return the methods that are asked for."""
    known = METHODS | CHOICES
    if options.only:
        return [known[name] for name in options.only]
    return [METHODS[name] for name in BESIDE] + list(CHOICES.values()) if options.choose else list(METHODS.values())


def work(options: argparse.Namespace) -> int:
    """Train and judge, seed by seed; return how many rows could not be done."""
    mode, failed = ("choice" if options.choose else "final"), 0
    if options.open_test and "unseen" in (options.task or TASKS):
        _prepare_unseen(options)
    for seed in options.seed or range(options.seeds):
        for method in rows(options):
            asked_for = _tasks(options, method, mode)
            if _opened_already(options, method, seed, asked_for):  # and its training may be gone
                print(f"evidence: {method.name}, seed {seed}: opened before", flush=True)
                continue
            place = Place(options.out.absolute(), options.pool.absolute(), mode, seed)
            began = time.monotonic()
            try:
                run = train_stage(place, method.stage) if method.stage else None
                asked = Asked(method, place, run)
                for task in asked_for:
                    _judge(options, task, asked)
            except Interrupted:
                raise
            except Act3dError as error:  # another process trains it, or it cannot be: the other rows go on
                failed += 1
                print(f"evidence: {method.name}, seed {seed}: {error}", file=sys.stderr, flush=True)
            else:
                print(f"evidence: {method.name}, seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
    return failed


def _tasks(options: argparse.Namespace, method: Method, mode: str) -> list[Task]:
    if mode == "final" and not options.open_test:
        return []  # trained only: the test families stay closed
    return [task for task in TASKS.values() if task.suits(method, mode) and task.name in (options.task or TASKS)]


def _opened_already(options: argparse.Namespace, method: Method, seed: int, asked_for: list[Task]) -> bool:
    if not (options.open_test and asked_for):
        return False
    return all(opened(options.log, recipe_digest(method), seed, task.name) for task in asked_for)


def _judge(options: argparse.Namespace, task: Task, asked: Asked) -> None:
    if asked.place.mode == "choice":
        do(task, asked)
    else:
        open_once(options.log, recipe_digest(asked.method), asked.seed, task.name, lambda: do(task, asked))


def _prepare_unseen(options: argparse.Namespace) -> None:
    out = options.out.absolute() / "data" / "homedecor"
    if not (out / DESCRIPTION).is_file():
        if options.unseen is None:
            raise SystemExit(
                "--unseen is missing: apt-get download minetest-mod-homedecor, dpkg -x it, name the folder"
            )
        prepare(str(options.unseen), out=str(out), format="folder", workers=1)


def show(options: argparse.Namespace) -> None:
    """Print every row with what is done of it, by seed."""
    place = Place(options.out.absolute(), options.pool.absolute(), "", 0)
    print(f"{'row':<34}{'digest':<14}{'choice':<10}{'trained':<10}{'opened':<10}stages")
    for method in [*METHODS.values(), *CHOICES.values()]:
        digest = recipe_digest(method)
        seeds = range(options.seeds)
        choice = sum(
            (place._replace(mode="choice", seed=s).results(method.name, digest) / "frozen.json").exists() for s in seeds
        )
        trained = sum(
            bool(method.stage) and (place._replace(mode="final", seed=s).run(method.stage) / "results.json").exists()
            for s in seeds
        )
        looked = sum(opened(options.log, digest, s, "frozen") is not None for s in seeds)
        names = " -> ".join(stage.name for stage in chain(method.stage)) or "-"
        print(f"{method.name:<34}{digest:<14}{choice:<10}{trained:<10}{looked:<10}{names}")
    print(f"{len(STAGES)} stages, collections {', '.join(each.name for each in COLLECTIONS)}, tasks {', '.join(TASKS)}")


def main() -> None:
    """Do what is asked."""
    options = _arguments()
    os.nice(max(0, 19 - os.nice(0)))  # other work comes first
    torch.set_num_threads(options.threads)
    if options.list:
        show(options)
    elif options.write:
        tables.write(options.out.absolute(), options.log)
    else:
        try:
            failed = work(options)
        except Interrupted as error:
            raise SystemExit(f"evidence: {error}; the same command goes on") from None
        if failed:
            raise SystemExit(f"evidence: {failed} rows were not done; the same command tries again")


if __name__ == "__main__":
    main()
