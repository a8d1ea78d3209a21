"""The contrast with several positives: CLIP's loss when there is one, the same for equal texts, and what it pulls."""

import math

import pytest
import torch
import torch.nn.functional as F

from act3d.losses.contrastive import MeanPositiveContrast, MultiPositiveContrast, same_meaning


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def clip(shapes: torch.Tensor, texts: torch.Tensor, scale: float) -> torch.Tensor:
    """The pseudocode of CLIP's figure 3."""
    logits, labels = scale * shapes @ texts.T, torch.arange(len(shapes))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


@pytest.mark.parametrize("even", [True, False])
def test_is_clips_loss_when_every_text_is_its_own(even: bool) -> None:
    shapes, texts = unit(16, 64), unit(16, 64, seed=1)
    loss = MultiPositiveContrast(temperature=0.1, even=even)
    torch.testing.assert_close(loss(shapes, texts), clip(shapes, texts, 10.0), rtol=1e-6, atol=0)
    torch.testing.assert_close(loss(3 * shapes, 0.2 * texts), loss(shapes, texts), rtol=1e-6, atol=0)


def test_even_form_is_clips_loss_when_positives_are_equal() -> None:
    shapes, texts = unit(16, 64), unit(4, 64, seed=1).repeat(4, 1)
    loss = MultiPositiveContrast(temperature=0.1)
    torch.testing.assert_close(loss(shapes, texts), clip(shapes, texts, 10.0), rtol=1e-6, atol=0)


def test_written_out_for_three_clouds_of_which_two_are_called_nearly_the_same() -> None:
    shapes, texts = unit(3, 8), unit(3, 8, seed=1)
    texts[2] = F.normalize(texts[0] + 0.1 * texts[2], dim=0)
    logits = shapes @ texts.T / 0.5
    rows, columns = logits.log_softmax(1), logits.log_softmax(0)
    wanted = -(
        (rows[0, 0] + rows[0, 2]) / 2 + rows[1, 1] + (rows[2, 0] + rows[2, 2]) / 2
        + (columns[0, 0] + columns[2, 0]) / 2 + columns[1, 1] + (columns[0, 2] + columns[2, 2]) / 2
    ) / 6  # fmt: skip
    torch.testing.assert_close(MultiPositiveContrast(temperature=0.5)(shapes, texts), wanted, rtol=1e-6, atol=0)
    p, q = rows.exp(), columns.exp()
    wanted = -(
        (p[0, 0] + p[0, 2]).log() + p[1, 1].log() + (p[2, 0] + p[2, 2]).log()
        + (q[0, 0] + q[2, 0]).log() + q[1, 1].log() + (q[0, 2] + q[2, 2]).log()
    ) / 6  # fmt: skip
    found = MultiPositiveContrast(temperature=0.5, even=False)(shapes, texts)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("even", [True, False])
def test_order_does_not_matter(even: bool) -> None:
    shapes, texts = unit(12, 16), unit(4, 16, seed=1).repeat(3, 1)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    loss = MultiPositiveContrast(even=even)
    torch.testing.assert_close(loss(shapes[order], texts[order]), loss(shapes, texts))


def test_a_gallery_is_what_shapes_are_held_against() -> None:
    shapes, texts, others = unit(3, 8), unit(3, 8, seed=1), unit(9, 8, seed=2)
    texts[2] = F.normalize(texts[0] + 0.1 * texts[2], dim=0)  # nearly the same
    gallery = torch.cat([others, texts])  # texts 0, 1, 2 are its rows 9, 10, 11
    rows, columns = (shapes @ gallery.T / 0.5).log_softmax(1), (shapes @ texts.T / 0.5).log_softmax(0)
    near, far = (rows[0, 9] + rows[0, 11]) / 2 + (rows[2, 9] + rows[2, 11]) / 2, rows[1, 10]
    back = (columns[0, 0] + columns[2, 0]) / 2 + columns[1, 1] + (columns[0, 2] + columns[2, 2]) / 2
    found = MultiPositiveContrast(temperature=0.5)(shapes, texts, gallery=3 * gallery)
    torch.testing.assert_close(found, -(near + far + back) / 6, rtol=1e-6, atol=0)


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("threshold", [0.95, 1.0])  # at 1 rounding decides whether a text is above it
def test_the_batchs_own_texts_as_the_gallery_change_nothing(even: bool, threshold: float) -> None:
    shapes, texts = unit(32, 64).float(), unit(32, 64, seed=1).float()
    loss = MultiPositiveContrast(threshold=threshold, even=even)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(loss(shapes, texts, gallery=texts[order]), loss(shapes, texts))


def test_shapes_and_texts_are_alike_to_it() -> None:
    a, b = unit(6, 16), unit(6, 16, seed=1)
    loss, positives = MultiPositiveContrast(), torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(loss(a, b, positives), loss(b, a, positives))


@pytest.mark.parametrize("even", [True, False])
def test_gradients(even: bool) -> None:
    shapes, texts = unit(5, 6).requires_grad_(), unit(5, 6, seed=1).requires_grad_()
    positives = torch.eye(5, dtype=torch.bool)
    positives[0, 3] = positives[3, 0] = True
    loss = MultiPositiveContrast(temperature=0.3, even=even).double()
    torch.autograd.gradcheck(lambda a, b, s: _with_scale(loss, a, b, s, positives), (shapes, texts, loss.log_scale))


def _with_scale(loss, shapes, texts, log_scale, positives) -> torch.Tensor:
    return torch.func.functional_call(loss, {"log_scale": log_scale}, (shapes, texts, positives))


def test_namesakes_are_held_back_by_the_even_form_only() -> None:
    """Two chairs and a table: a step moves every shape towards its word, wherever its namesake stands, or not."""
    words = torch.eye(3, dtype=torch.float64)[[0, 0, 1]]
    nearer = {}
    for even in (True, False):
        shapes = unit(3, 3).requires_grad_()
        MultiPositiveContrast(temperature=0.2, even=even)(shapes, words).backward()
        moved = F.normalize(shapes.detach() - 0.1 * shapes.grad, dim=1)
        nearer[even] = ((moved * words).sum(1) > (shapes.detach() * words).sum(1)).tolist()
    assert nearer == {True: [False, True, True], False: [True, True, True]}


def test_near_names_do_not_push_each_other_away() -> None:
    """With the shapes at their texts, CLIP still pulls two near names apart; here the pair stays or draws nearer."""
    texts = F.normalize(torch.tensor([[1.0, 0.2, 0.0], [1.0, -0.2, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64), dim=1)
    assert same_meaning(texts, 0.9)[0, 1]

    def towards_each_other(loss) -> float:
        shapes = texts.clone().requires_grad_()
        loss(shapes).backward()
        return float(-shapes.grad[0] @ (texts[1] - texts[0]))

    assert towards_each_other(lambda shapes: clip(shapes, texts, 5.0)) < -0.01
    for even in (True, False):
        loss = MultiPositiveContrast(0.2, threshold=0.9, even=even)
        assert towards_each_other(lambda shapes, loss=loss: loss(shapes, texts)) > -1e-3


def test_texts_that_are_all_the_same_say_nothing() -> None:
    shapes = unit(8, 16).requires_grad_()
    text = unit(1, 16, seed=1).expand(8, -1)
    loss = MultiPositiveContrast()
    value = loss(shapes, text)
    value.backward()
    # From shapes to texts there is nothing to tell apart; from texts to shapes all shapes should be equally near.
    rows = F.cross_entropy(loss.scale * shapes @ text.T, torch.full((8, 8), 1 / 8, dtype=torch.float64))
    assert rows.item() == pytest.approx(math.log(8))
    assert value > math.log(8)
    assert shapes.grad.isfinite().all()
    assert MultiPositiveContrast(even=False)(shapes, text).item() == pytest.approx(0, abs=1e-12)
    same = unit(1, 16).expand(8, -1)
    assert loss(same, text).item() == pytest.approx(math.log(8))


def test_near_texts_are_positives_and_far_ones_are_not() -> None:
    near = torch.tensor([[1.0, 0.0], [0.97, (1 - 0.97**2) ** 0.5], [0.9, (1 - 0.9**2) ** 0.5]])
    found = same_meaning(torch.tensor([2.0, 0.1, 7.0])[:, None] * near)
    # 0 and 1: 0.97. 1 and 2: 0.979. 0 and 2: 0.9.
    assert found.tolist() == [[True, True, False], [True, True, True], [False, True, True]]
    assert same_meaning(torch.zeros(2, 4)).tolist() == [[True, False], [False, True]], "an empty text is its own only"


def test_temperature_is_learnt_and_bounded() -> None:
    loss = MultiPositiveContrast(temperature=0.07)
    assert loss.scale.item() == pytest.approx(1 / 0.07)
    shapes = unit(8, 16).float()
    loss(shapes, shapes).backward()
    assert loss.log_scale.grad.item() < 0, "pairs that agree already ask for a sharper softmax"
    with torch.no_grad():
        loss.log_scale.fill_(20)
    assert loss.scale.item() == pytest.approx(100)
    with pytest.raises(ValueError, match="temperature = 0"):
        MultiPositiveContrast(temperature=0)


def test_half_precision_is_raised() -> None:
    shapes, texts = unit(8, 16).bfloat16(), unit(8, 16, seed=1).bfloat16()
    loss = MultiPositiveContrast()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(shapes, texts)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(shapes.float(), texts.float()))


@pytest.mark.parametrize(
    ("shapes", "texts"), [((4, 8), (4, 9)), ((4, 8), (5, 8)), ((4, 2, 8), (4, 2, 8)), ((0, 8), (0, 8))]
)
def test_shapes_that_do_not_fit(shapes: tuple[int, ...], texts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must both be \(B, D\)"):
        MultiPositiveContrast()(torch.ones(shapes), torch.ones(texts))
    with pytest.raises(ValueError, match=r"positives \(3, 3\) must be \(B, B\) with B = 4"):
        MultiPositiveContrast()(torch.ones(4, 8), torch.ones(4, 8), torch.eye(3, dtype=torch.bool))


def test_mean_positive_contrast_written_out() -> None:
    features = unit(3, 8)
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    s = (features @ features.T / 0.1).tolist()
    exp, log = math.exp, math.log
    rows = [(s[0][0] + s[0][1]) / 2, (s[1][0] + s[1][1]) / 2, s[2][2]]
    others = [exp(s[0][2]), exp(s[1][2]), exp(s[2][0]) + exp(s[2][1])]
    wanted = sum(-log(exp(m) / (exp(m) + n)) for m, n in zip(rows, others, strict=True)) / 3
    assert MeanPositiveContrast()(5 * features, same).item() == pytest.approx(wanted)


def test_mean_positive_contrast_without_negatives_says_nothing() -> None:
    features = unit(4, 8).requires_grad_()
    loss = MeanPositiveContrast()(features, torch.ones(4, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert features.grad.abs().max() == 0
    with pytest.raises(ValueError, match=r"same \(3, 4\) \(B, B\)"):
        MeanPositiveContrast()(features, torch.ones(3, 4, dtype=torch.bool))


def test_mean_positive_contrast_gradients() -> None:
    same = torch.eye(5, dtype=torch.bool)
    same[1, 4] = same[4, 1] = True
    torch.autograd.gradcheck(lambda x: MeanPositiveContrast(0.5)(x, same), unit(5, 6).requires_grad_())
