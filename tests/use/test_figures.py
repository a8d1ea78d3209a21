"""Figures of `act3d show`: what they print is what the evaluation code measures."""

import re
import struct

import numpy as np
import pytest
import torch

from act3d.commands.show import _names, show
from act3d.errors import CheckpointError, ConfigError, InputError
from act3d.evaluation.retrieval import measure_scaling
from act3d.losses import build_loss
from act3d.models.class_attention import class_attention
from act3d.models.encoder import PointEncoder
from act3d.report.class_colors import hex_colors, marked_colors
from act3d.report.figure import Figure, Panel, _foot_height, _legend_places, shortened, write_figure
from act3d.report.pieces import EmbeddingMap
from act3d.use.figures import autoencoders, collections, students
from act3d.use.figures.shapes import Source, list_shapes, shapes_of, spread_places
from act3d.use.load import load
from act3d.use.shapes import Item
from tests.command_line import settings_of_words


@pytest.fixture(scope="module")
def runs(stage1, stage2, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    return stage1(folder / "one", epochs=1).out, stage2(folder / "two", epochs=1).out


def panels(figure, title):
    return [panel for row in figure.rows for panel in row if re.search(title, panel.title)]


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


def test_scores_below_reconstructions_are_those_of_validation(runs, dataset):
    from act3d.evaluation.reconstruction import rebuild_scores

    model = load(runs[0])
    source = Source(str(dataset))
    figure = autoencoders.reconstructions([model, model], ["a", "b"], source, 3)
    expected = rebuild_scores(model.model, shapes_of(source, model, 3).points)
    for called in ("a", "b"):
        shown = [numbers(panel.note) for panel in panels(figure, f"^{called}: fine")]
        np.testing.assert_allclose(shown, expected.numpy(), atol=0.051)
    assert [len(row) for row in figure.rows] == [5, 5, 5]


def test_the_cosine_below_a_masked_shape_is_the_loss(runs, dataset):
    student, teacher = load(runs[1]), load(runs[0]).model
    source = Source(str(dataset))
    figure = students.masks(student, teacher, source, 2, 0.5, seed=3)
    for place, panel in enumerate(panels(figure, "cosine")):
        points = shapes_of(source, student, 2).points
        with torch.random.fork_rng():
            torch.manual_seed(3)
            from act3d.models.masking import random_mask

            mask = random_mask(2, student.model.patches, student.model.patches // 2)
        patches = student.model.patchify(points)
        with torch.no_grad():
            output = student.model(patches, mask, student.model.patches // 2)
            target = torch.gather(
                teacher.features(patches), 1, output.hidden.unsqueeze(2).expand(-1, -1, output.predicted.shape[2])
            )
        loss = build_loss("cosine")(output.predicted[place : place + 1], target[place : place + 1])
        assert numbers(panel.note) == pytest.approx([1 - float(loss), float(loss)], abs=6e-4)
        # Points in hidden patches only, each coloured by its patch.
        assert len(np.unique(panel.coloring.values)) <= student.model.patches // 2
    hidden, seen = panels(figure, "predicted")[0], panels(figure, "visible")[0]
    assert len(hidden.points) == len(seen.points) == student.model.patches // 2 * student.model.patch_size
    used, cuts = student.model.patches, [panel.title + panel.note for row in figure.rows for panel in row]
    try:
        student.model.patches = (
            2 * used
        )  # as one that started from a finer encoder: a mask is the teacher's all the same
        finer = students.masks(student, teacher, source, 2, 0.5, seed=3)
    finally:
        student.model.patches = used
    assert [panel.title + panel.note for row in finer.rows for panel in row] == cuts


def test_attention_is_what_the_encoder_computes_with():
    torch.manual_seed(0)
    encoder = PointEncoder(width=16, depth=2, heads=2).eval()
    from act3d.geometry import patchify

    patches = patchify(torch.randn(3, 64, 3), 8, 8)
    weights = class_attention(encoder, patches)
    assert weights.shape == (2, 3, 2, 8)
    assert ((weights > 0) & (weights < 1)).all()
    assert (weights.sum(dim=3) < 1).all()
    # By these weights the first block's class token is what scaled_dot_product_attention gives.
    seen = {}
    block = encoder.blocks[0]
    block.attn.register_forward_hook(lambda module, inputs, output: seen.update(io=(inputs[0], output)))
    encoder(patches)
    x, output = seen["io"]
    value = block.attn.qkv(x).view(3, 9, 3, 2, 8).permute(2, 0, 3, 1, 4)[2]  # (B, heads, 1 + G, 8)
    own = 1 - weights[0].sum(dim=2, keepdim=True)
    mixed = torch.cat([own, weights[0]], dim=2)[:, :, None] @ value
    torch.testing.assert_close(block.attn.proj(mixed.transpose(1, 2).reshape(3, 16)), output[:, 0])
    with pytest.raises(InputError, match="no class token"):
        class_attention(PointEncoder(16, 1, 2, class_token=False), patches)


def test_attention_shows_the_blocks_and_heads_that_are_asked_for(runs, dataset):
    student = load(runs[1])
    figure = students.attention(student, Source(str(dataset)), 1, [2], [1, 2])
    assert [panel.title for panel in figure.rows[0]][1:] == ["block 2, head 1", "block 2, head 2"]
    assert len(students.attention(student, Source(str(dataset)), 2, [], []).rows[1]) == 3
    for blocks, heads, words in (([3], [], "block 3"), ([], [0], "head 0")):
        with pytest.raises(InputError, match=f"{words}: this encoder has 2"):
            students.attention(student, Source(str(dataset)), 1, blocks, heads)


def test_codes_in_use_and_their_perplexity(runs, dataset):
    assert autoencoders.code_usage(np.array([0.25, 0, 0.25, 0.25, 0.25])) == (4, pytest.approx(4))
    assert autoencoders.code_usage(np.array([1.0, 0])) == (1, pytest.approx(1))
    model = load(runs[0])
    figure = autoencoders.codes(model, Source(str(dataset)), 3)
    tokens = model.tokenize(shapes_of(Source(str(dataset)), model, 256).points).numpy()
    live = len(np.unique(tokens))
    assert f"{live} of 16 codes in use" in figure.note
    most = np.bincount(tokens.ravel()).argmax()
    assert figure.names[0].startswith(f"Code {most}: {100 * np.mean(tokens == most):.1f} %")
    lit = figure.rows[0][0].coloring.values == 1
    assert figure.legend[0][1] == "#d55e00"
    assert 0 < lit.mean() <= 1


def test_neighbors_are_those_of_search_without_the_query_itself(runs, dataset):
    model = load(runs[1])
    source = Source(str(dataset))
    figure = collections.neighbors([model], ["mine"], source, source, 2, 3)
    shapes = list_shapes(source, model)
    every = shapes_of(source, model, len(shapes.items))
    scaling = measure_scaling(model.embed(every.points).numpy())
    order = spread_places(shapes.items, len(shapes.items))  # in which `every` was read
    for place, row in zip(map(order.index, spread_places(shapes.items, 2)), figure.rows, strict=True):
        query, *found = row
        similarity = scaling(model.embed(every.points).numpy()) @ scaling(model.embed(every.points[[place]]).numpy())[0]
        expected = sorted(np.delete(similarity, place), reverse=True)[:3]
        assert [numbers(panel.note)[-1] for panel in found] == pytest.approx(expected, abs=6e-4)
        for panel in found:
            label = panel.note.split("\n")[0] if "\n" in panel.note else ""
            known = bool(label and query.note)
            assert panel.mark == (("right" if label == query.note else "wrong") if known else "")
    assert {panel.mark for row in figure.rows for panel in row} >= {"right"}


def test_shapes_are_spread_over_classes_and_not_chosen_by_how_they_look():
    items = [Item(f"{label}{i}", label, "", "", "") for label in "abcde" for i in range(3)]
    assert [items[place].name for place in spread_places(items, 3)] == ["a0", "c0", "e0"]
    assert [items[place].name for place in spread_places(items, 7)] == ["a0", "b0", "c0", "d0", "e0", "a1", "b1"]
    assert spread_places([Item("x", "", "", "", "")] * 3, 2) == [0, 1]


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg", ".html"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_files_have_the_size_that_was_asked_for_and_hold_their_letters(tmp_path, suffix, theme):
    cloud = np.random.default_rng(0).normal(size=(50, 3))
    row = [Panel(cloud, "a_$b", "F 0.123"), Panel(np.zeros((0, 3)), "free")]
    path = tmp_path / f"f{suffix}"
    write_figure(path, Figure("Title", [row], ["row"], legend=[("part", "#0072b2")], scale=("0", "1")), 3.25, theme)
    data = path.read_bytes()
    if suffix == ".png":
        assert struct.unpack(">I", data[16:20])[0] == 975
        from matplotlib.image import imread

        assert (imread(path)[2, 2, :3].mean() > 0.5) == (theme == "light")
    elif suffix == ".pdf":
        width = float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", data).group(1))
        assert width == pytest.approx(3.25 * 72)
        assert b"/FontFile2" in data  # TrueType, embedded
        assert b"/Type3" not in data
    elif suffix == ".svg":
        assert 'width="234pt"' in data.decode()
        assert "<text" not in data.decode()  # outlines, so that no reader lacks the letters
    else:
        assert "F 0.123" in data.decode()
        assert data.decode().count(' data-p="') == 1


def test_long_names_keep_both_ends():
    assert shortened("Blend Swap CC-0#refrigerator", 14) == "Blend …gerator"
    assert [len(shortened("abcdefghij", count)) for count in (1, 2, 9, 10)] == [1, 2, 9, 10]


def test_every_entry_of_a_legend_lies_in_the_figure():
    legend = [(f"a class with a long name {i}", "#0072b2") for i in range(20)]
    for figure in (Figure("f", [[]], legend=legend), Figure("f", map=map_of(20), classes=[name for name, _ in legend])):
        places = _legend_places(figure, 3.25)
        assert len(places) == 20
        assert max(line for _, line in places) * 0.2 + 0.2 <= _foot_height(figure, 3.25)
        assert all(x + 0.065 * 26 < 3.25 for x, _ in places)


def test_classes_of_a_map_differ_in_colour_or_marker():
    assert len(set(marked_colors(40))) == 40
    assert [color for color, _ in marked_colors(6)] == hex_colors("abcdef")


def map_of(classes):
    xy = np.random.default_rng(0).normal(size=(classes, 2))
    return EmbeddingMap(xy, np.arange(classes), ["x"] * classes, np.arange(classes) % 2 > 0)


def test_a_map_is_drawn_in_every_format(tmp_path):
    rng = np.random.default_rng(0)
    clouds = [rng.normal(size=(20, 3)) for _ in range(8)]
    shown = EmbeddingMap(rng.normal(size=(8, 2)), np.arange(8) % 3 - 1, list("abcdefgh"), np.arange(8) > 3, clouds)
    for suffix in (".pdf", ".html"):
        path = write_figure(tmp_path / f"m{suffix}", Figure("Map", map=shown, classes=["cup", "lamp"]))
        assert path.stat().st_size > 2000


def test_the_command_writes_what_each_kind_asks_for(runs, dataset, tmp_path, capsys):
    one, two = map(str, runs)
    for kind, checkpoint, more in (
        ("reconstruct", [one], {"rows": 1}),
        ("codes", [one], {"columns": 2}),
        ("masks", [two], {"rows": 1}),
        ("attention", [two], {"rows": 1}),
        ("map", [two], {}),
        ("neighbors", [two], {"rows": 1, "columns": 2}),
        ("data", [], {}),
    ):
        path = show(kind, str(dataset), checkpoint=checkpoint, out=str(tmp_path / f"{kind}.html"), **more)
        assert " data-p=" in path.read_text(encoding="utf-8")
        assert f"written: {path}" in capsys.readouterr().out
    for kind, checkpoint, error, words in (
        ("map", [], ConfigError, "show map needs one"),
        ("data", [one], ConfigError, "takes none"),
        ("masks", [two, two], ConfigError, "takes one, not 2; reconstruct and neighbors take several"),
        ("reconstruct", [two], CheckpointError, "student"),
        ("map", [one], CheckpointError, "autoencoder"),
        ("parts", [two], CheckpointError, "student"),
    ):
        with pytest.raises(error, match=words):
            show(kind, str(dataset), checkpoint=checkpoint, out=str(tmp_path / "x.png"))
    show("reconstruct", str(dataset), checkpoint=[one], out=str(tmp_path / "x.svg"), rows=1, width=2)
    assert "caption: Reconstructions. Every patch becomes one code" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"must end in \.html, \.png, \.pdf, \.svg, \.webp or \.gif"):
        show("data", str(dataset), out=str(tmp_path / "x.jpg"))


def test_several_checkpoints_are_given_one_after_another(runs):
    one, two = map(str, runs)
    settings = settings_of_words("show", "reconstruct", "sample", "--checkpoint", one, two, "--rows", "2")
    assert (settings.checkpoint, settings.rows, settings.blocks) == ([one, two], 2, [])
    assert settings_of_words("show", "map", "sample", "--checkpoint", one, "--blocks", "1,2").blocks == [1, 2]
    assert _names(["a/x", "b/y.pth"]) == ["x", "y"]
    assert _names(["r/a/checkpoints/last.safetensors", "r/b/checkpoints/last.safetensors"]) == ["a", "b"]
    assert _names(["r/a/x", "r/a/x"]) == ["r/a/x", "r/a/x"]


def test_files_that_cannot_be_read_give_way_to_others(student, meshes, tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    for number in range(3):
        (folder / f"a{number}.obj").write_text("v 1 2\nf 1 2 3\n")
    for number in range(3):
        (folder / f"b{number}.obj").write_bytes((meshes / "rod" / f"rod{number}.obj").read_bytes())
    assert shapes_of(Source(str(folder)), student, 2).names == ["b0.obj", "b1.obj"]
    with pytest.raises(InputError, match="not one shape could be read"):
        shapes_of(Source(str(folder / "a*.obj")), student, 2)


def test_miou_below_parts_is_that_of_evaluation(tmp_path):
    from act3d import checkpoints
    from act3d.commands.evaluate import evaluate
    from act3d.models.segmenter import Segmenter
    from tests.commands.test_segment import SMALL, write_parts

    root = write_parts(tmp_path / "things")
    torch.manual_seed(0)
    meta = {"classes": ["plate", "rod"], "parts": ["top", "bottom", "mark"], "points": 128}
    meta["class_parts"] = {"plate": [0, 1, 2], "rod": [0, 1]}
    file = checkpoints.save(Segmenter(classes=3, categories=2, **SMALL), tmp_path / "s.safetensors", meta)
    whole = evaluate(str(file), data={"root": str(root)}).metrics
    figure = collections.parts(load(file), Source(str(root)), 99)
    shown = [numbers(panel.note) for panel in panels(figure, "predicted")]
    assert len(shown) == 8
    assert np.mean([miou for miou, _ in shown]) == pytest.approx(whole["instance_miou"], abs=0.06)
    assert np.mean([right for _, right in shown]) == pytest.approx(whole["accuracy"], abs=0.06)
    assert {name for name, _ in figure.legend} <= {"top", "bottom", "mark"}
    truth = figure.rows[0][0]
    assert set(truth.coloring.values) <= {0, 1, 2}
    path = show("parts", str(root), checkpoint=[str(file)], out=str(tmp_path / "p.pdf"))
    assert path.stat().st_size > 5000
