"""What clouds are called, as vectors that a model learns to reach: shared by alignment and by pretraining with names.

What learns from names is name-supervised: it says so in results.json and in its checkpoints.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from act3d import checkpoints
from act3d.data.clouds import CloudDataset
from act3d.data.views import Selection
from act3d.engine import processes
from act3d.engine.recipe import Recipe
from act3d.engine.run_folder import RunFolder
from act3d.errors import ConfigError, InputError
from act3d.lines import say
from act3d.models.encoder import EncoderModel
from act3d.models.text_head import TextHead, TextSide
from act3d.recipes.common import Start, say_once
from act3d.settings.alignment import TextConfig
from act3d.supervision import CLASSES, NAMES
from act3d.use.text_embeddings import encode_texts
from act3d.use.texts import label_text, texts_of


class Names(NamedTuple):
    """Texts of training clouds as a model sees them.

    Attributes:
        vectors: (S, D), a unit vector a cloud among shapes; zeros where a cloud has no text.
        named: bool (S,): which clouds have a text.
        about: how texts were made, for results.json: encoder, column, clean, distinct, clouds_without.
        distinct: (K, D), every text once.
        negatives: the most of these that a cloud is told apart from in a step; 0 = those of its batch.
        remembered: (S,), which text of the model's memory a cloud has; -1 = none.
    """

    vectors: Tensor
    named: Tensor
    about: dict[str, Any]
    distinct: Tensor
    negatives: int
    remembered: Tensor

    @property
    def facts(self) -> dict[str, Any]:
        """What results.json and checkpoints say of a model that learnt these."""
        learnt = CLASSES if self.about["column"] == CLASSES else NAMES
        return {"supervision": learnt, "texts": self.about}

    def to(self, device: torch.device) -> "Names":
        """The same on another device."""
        vectors, named, distinct = (each.to(device) for each in (self.vectors, self.named, self.distinct))
        return self._replace(vectors=vectors, named=named, distinct=distinct)

    def contrast(self, head: TextHead, shapes: Tensor, index: Tensor) -> Tensor:
        """Return the contrast of the unit vectors (B, D) of a batch of clouds, with rows index (B,), with their texts.

        Clouds without a text are left out. In a batch without any, everything still takes part: processes wait for
        each other's gradients.
        """
        named, texts = self.named[index], self.vectors[index]
        if not named.any():
            return 0 * head.scores(shapes, texts).sum()
        loss: Tensor = head.contrast(shapes[named], texts[named], gallery=self._gallery(texts[named]))
        return loss

    def _gallery(self, texts: Tensor) -> Tensor | None:
        """Return the texts (K, D) that a batch with these texts (B, D) is held against, or None for these alone."""
        if not self.negatives:
            return None
        if len(self.distinct) <= self.negatives:
            return self.distinct
        drawn = torch.randint(len(self.distinct), (self.negatives,), device=self.distinct.device)
        return torch.cat([self.distinct[drawn], texts])

    def check_resumed(self, about: Any) -> None:
        """Check that texts are made as they were when the run began.

        Raises:
            ConfigError: they are not.
        """
        if about != self.about:
            raise ConfigError(f"resume: the run's texts were {about} when it began, {self.about} now")


def read_texts(clouds: CloudDataset, text: TextConfig) -> list[str]:
    """Return a text for every cloud, "" where nothing says a word about it.

    Raises:
        InputError: fewer than two different ones.
    """
    texts = texts_of(clouds.columns(), text.column, clean=text.clean)
    if len(set(texts) - {""}) < 2:
        raise InputError(
            f"{clouds.name} has no texts to learn from: {sum(map(bool, texts))} of {len(clouds)} clouds have words "
            f"(text.column={text.column}), {len(set(texts) - {''})} of them distinct; choose another --text.column"
        )
    return texts


def learn_names(
    model: EncoderModel,
    texts: Sequence[str],
    text: TextConfig,
    memory: int = 0,
    negatives: int = 0,
    without: int = 0,
) -> Names:
    """Set the mean of the model's side of texts to that of the distinct texts, and return the texts around it.

    Args:
        model: the model that is trained.
        texts: of the training clouds; "" = none.
        text: how they were made.
        memory: the most texts that the model shall remember: those that most clouds have.
        negatives: see `Names`.
        without: clouds that were left out before because they have no text.
    """
    head = model.alignment
    assert head is not None
    distinct = sorted(set(texts) - {""})
    encoded = encode_texts(distinct)
    head.text_mean.copy_(encoded.mean(dim=0))
    places, row_of = head.place_texts(encoded).cpu(), {words: row for row, words in enumerate(distinct)}
    named = torch.tensor([bool(words) for words in texts])
    vectors = torch.zeros(len(texts), head.text_width)
    vectors[named] = places[[row_of[words] for words in texts if words]]
    kept: dict[str, int] = {}
    if memory:
        often = Counter(sorted(words for words in texts if words)).most_common(memory)
        kept = {words: row for row, (words, _) in enumerate(often)}
        model.remember_texts(places[[row_of[words] for words in kept]])
    about = {"encoder": "minilm", "column": text.column, "clean": text.clean, "distinct": len(distinct)}
    about |= {"clouds_without": without + int((~named).sum())}
    return Names(vectors, named, about, places, negatives, torch.tensor([kept.get(words, -1) for words in texts]))


def remember_examples(recipe: Recipe, names: Names, folder: RunFolder | None) -> bool:
    """Let a trained model, in eval mode, remember training clouds with their texts; and the best weights of its run.

    Clouds are embedded at the patches that the model is used at, with all processes.

    Returns:
        Whether there are any to remember.
    """
    rows, most = (names.remembered >= 0).nonzero()[:, 0], recipe.settings.align.examples
    if recipe.plan.fast_dev_run:
        most = min(most, recipe.data.batch_size)
    if len(rows) > most:
        drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(recipe.seed))
        rows = rows[drawn[:most].sort().values]
    if len(rows) < 2:
        return False
    if folder is not None and processes.rank() == 0:
        what = f"{len(rows)} clouds are embedded once more, to be remembered with what they are called"
        say(f"{recipe.command}: {what}", error=True)
    clouds, texts = Selection(recipe.clouds, rows.numpy()), names.remembered[rows]

    def remember(model: EncoderModel) -> None:
        count = model.config["patches"]
        features = recipe.vectors_of(clouds, lambda x: model.embed(model.patchify(x, count)), recipe.data.batch_size)[0]
        model.remember_examples(features, texts)

    processes.share_buffers(recipe.model)
    remember(recipe.model)
    best = None
    if folder is not None and processes.rank() == 0 and folder.best.exists():
        best = checkpoints.load(folder.best)
    best = processes.gather_objects(best)[0]  # of the first process, which alone has the file for sure
    if folder is not None and best is not None:
        remember(best.model.to(recipe.device))
        if processes.rank() == 0:
            checkpoints.save(best.model, folder.best, best.meta)
    return True


def take_over_words(head: TextHead, start: Start) -> bool:
    """Go on with the projection and temperature of a start that knows words; say so where it is of another size."""
    source = getattr(start.source, "alignment", None)
    taken = head.take_over(source)
    if isinstance(source, TextHead) and not taken:
        checkpoint, hidden = start.about["checkpoint"], head.projection[0].out_features
        say_once(f"act3d: align.hidden: {hidden}; the projection of {checkpoint} is of another size and left")
    return taken


def zero_shot(head: TextSide, shapes: Tensor, labels: Tensor, classes: Sequence[str], clean: bool) -> float:
    """Return how often, in percent, the nearest class word of shapes (S, D) is that of their labels (S,), -1 = none.

    Args:
        classes: a word a class; pooled datasets may share one: either class is right then.
        clean: words are read as training texts were.
    """
    texts = [label_text(name, clean) for name in classes]
    predicted = (shapes @ head.place_texts(encode_texts(texts)).to(shapes).T).argmax(dim=1)
    same = torch.tensor([[a == b for b in texts] for a in texts])
    return 100 * float(same[predicted, labels][labels >= 0].float().mean())
