"""What the server of the app gives, to whom, and what it keeps."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import act3d
from act3d.known_models import SHIPPED
from tests.app.served import Served, served
from tests.fixtures.small_models import write_box

FILES = ("/", "/main.js", "/grid.js", "/panel.js", "/ask.js", "/app.css", "/style.css", "/viewer.js")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rods, three plates, and one file that cannot be read."""
    folder = tmp_path_factory.mktemp("library") / "shapes"
    for i in range(3):
        write_box(folder / "rod" / f"rod{i}.obj", 1, 1, 5 + i)
        write_box(folder / "plate" / f"plate{i}.obj", 5, 5 + i, 0.5)
    (folder / "plate" / "bad.obj").write_text("v 1 2\nf 1 2 3\n")
    return folder


@pytest.fixture(scope="module")
def app(library: Path, student_file: Path) -> Any:
    with served(library, checkpoint=str(student_file), data={"workers": 1}) as running:
        yield running.indexed()


def rows_of(app: Served) -> dict[str, Any]:
    status, rows = app.ask("/api/rows")
    assert status == 200
    return rows


def longest(cloud: bytes) -> int:
    """The axis along which a cloud is longest."""
    return int(np.ptp(whole(cloud), axis=0).argmax())


def whole(cloud: bytes) -> Any:
    return np.frombuffer(cloud, np.int8).reshape(-1, 3).astype(int)


def test_a_folder_is_indexed_and_its_rows_clouds_and_neighbours_are_given(app: Served, library: Path) -> None:
    _, state = app.ask("/api/state")
    assert (state["shapes"], state["title"]) == (6, "shapes")
    assert state["job"]["failed"] == 1
    assert "bad.obj" in state["job"]["failures"][0]
    assert "learnt no names" in state["words"]
    rows = rows_of(app)
    assert rows["classes"] == ["plate", "rod"]
    assert rows["places"] == [f"{kind}/{kind}{i}.obj" for kind in ("plate", "rod") for i in range(3)]
    _, clouds = app.ask(f"/api/clouds?ids={','.join(rows['ids'])}")
    points = np.frombuffer(clouds, np.int8).reshape(6, 512, 3).astype(int)
    assert np.ptp(points[3], axis=0).argmax() == 2  # a rod is long, a plate is flat
    assert np.ptp(points[0], axis=0).argmin() == 2
    status, found = app.ask(f"/api/shape?id={rows['ids'][0]}&k=3")
    assert status == 200
    assert rows["ids"][0] not in found["ids"]
    assert found["similarity"] == sorted(found["similarity"], reverse=True)
    assert found["path"] == str(library / "plate" / "plate0.obj")
    assert found["size"] == pytest.approx([5, 5, 0.5])
    assert app.ask("/api/shape?id=nothing")[0] == 400


def test_strangers_are_refused(app: Served) -> None:
    for name in FILES:
        assert app.ask(name)[0] == 200, name
    assert app.ask("/api/state", Host=f"localhost:{app.port}")[0] == 200
    for host in ("evil.example", f"evil.example:{app.port}", "127.0.0.1", f"127.0.0.1:{app.port}.evil.example"):
        assert app.ask("/api/state", Host=host)[0] == 403, host
    assert app.ask("/api/state", Origin="http://evil.example")[0] == 403
    assert app.ask("/api/state", Origin="null")[0] == 403
    assert app.ask("/api/state", Sec_Fetch_Site="cross-site")[0] == 403
    stop = {"what": "stop"}
    assert app.ask("/api/work", stop, Origin="")[0] == 403
    assert app.ask("/api/work", stop, Origin="http://evil.example")[0] == 403
    assert app.ask("/api/work", stop, Origin=f"http://127.0.0.1:{app.port + 1}")[0] == 403
    assert app.ask("/api/work", stop)[0] == 200


def test_no_file_is_given_away(app: Served, library: Path) -> None:
    for path in (
        "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", f"/{library}/rod/rod0.obj", "/rod/rod0.obj",
        "/server.py", "/docs", "/openapi.json", "/api/clouds?ids=../../etc/passwd",
    ):  # fmt: skip
        status, content = app.ask(path)
        assert status in (400, 404), path
        assert b"root:" not in bytes(str(content), "utf-8"), path


def test_a_dropped_file_finds_itself_and_its_class(app: Served, library: Path) -> None:
    content = (library / "rod" / "rod1.obj").read_bytes()
    status, found = app.ask("/api/drop?name=mine.obj", content)
    assert status == 200
    rows = rows_of(app)
    assert rows["names"][rows["ids"].index(found["ids"][0])] == "rod/rod1.obj"
    assert found["similarity"][0] == pytest.approx(1, abs=1e-4)
    assert found["by"] == "labels"
    assert sum(share for _, share in found["classes"]) == pytest.approx(1)
    assert (found["up"], found["tips"]) == ("y", {"forward": "-z", "sideways": "x"})
    turned = app.ask("/api/drop?name=mine.obj&up=-z", content)[1]
    assert turned["up"] == "-z"
    assert turned["similarity"][0] < 0.9999


def test_what_cannot_be_read_is_said_in_one_line(app: Served) -> None:
    for name, content, words in (
        ("x.exe", b"1", "suffix '.exe' is not known"),
        ("bad.obj", b"v 1 2\nf 1 2 3\n", "bad.obj: "),
        ("empty.stl", b"", "empty.stl: "),
        ("../../x.npz", b"PK\x03\x04garbage", "x.npz: "),
    ):
        status, said = app.ask(f"/api/drop?name={name}", content)
        assert status == 400, name
        assert words in said["error"], name
        assert "\n" not in said["error"]
    assert app.ask("/api/drop?name=a.obj&up=w", b"1")[0] == 422


def test_a_file_that_is_too_large_is_refused(app: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from act3d.app import server

    monkeypatch.setattr(server, "LARGEST", 10)
    status, said = app.ask("/api/drop?name=a.obj", b"v 0 0 0\n" * 10)
    assert status == 400
    assert "larger than" in said["error"]


def test_a_classifier_names_what_is_dropped(library: Path, student_file: Path, classifier_file: Path) -> None:
    with served(library, checkpoint=str(student_file), classifier=str(classifier_file)) as running:
        running.indexed()
        content = (library / "rod" / "rod1.obj").read_bytes()
        found = running.ask("/api/drop?name=mine.obj", content)[1]
        expected = act3d.load(str(classifier_file)).predict(str(library / "rod" / "rod1.obj"))
    assert found["by"] == "classifier"
    assert [name for name, _ in found["classes"]] == [name for name, _ in expected]
    assert [share for _, share in found["classes"]] == pytest.approx([share for _, share in expected], abs=1e-4)


def test_tables_and_pages_hold_what_was_asked_for(app: Served, library: Path) -> None:
    rows = rows_of(app)
    asked = {"title": "<b>mine", "ids": [rows["ids"][4], rows["ids"][0]], "similarity": [0.5, 0.25]}
    _, table = app.ask("/api/export", {"kind": "csv", **asked})
    lines = table.decode().splitlines()
    assert lines[0] == "shape,class,similarity,width,height,depth,path"
    assert lines[1].startswith("rod/rod1.obj,rod,0.5,")
    assert lines[1].endswith(str(library / "rod" / "rod1.obj"))
    assert len(lines) == 3
    _, page = app.ask("/api/export", {"kind": "html", **asked})
    text = page.decode()
    assert text.count("<figure") == 2
    assert "&lt;b&gt;mine" in text
    assert str(library) not in text  # a page that is passed on names no folder of this machine
    assert "http" not in text.split("<main>")[1]


def test_a_shape_that_was_turned_stays_so(tmp_path: Path, student_file: Path) -> None:
    folder = tmp_path / "shapes"
    for i in range(3):
        write_box(folder / f"rod{i}.obj", 1, 1, 5 + i)
    with served(folder, checkpoint=str(student_file)) as running:
        running.indexed()
        first = rows_of(running)["ids"][0]
        before = running.ask(f"/api/clouds?ids={first}")[1]
        assert running.ask("/api/tip", {"id": first, "how": "forward"}) == (200, {"up": "-z"})
        after = running.ask(f"/api/clouds?ids={first}")[1]
        assert longest(before) == 2
        assert longest(after) == 1  # it stands
        running.indexed()  # waits for the writing, which goes before it, and reads nothing anew
        assert running.ask(f"/api/shape?id={first}")[1]["turned"] == "-z"
        kept = running.ask(f"/api/clouds?ids={first}")[1]  # in half precision
        assert np.abs(whole(kept) - whole(after)).max() <= 1
    report = act3d.index(str(folder), str(student_file), f"{folder}-index")
    assert (report.shapes, report.new) == (3, 0)  # the command keeps it too
    write_box(folder / "rod0.obj", 1, 1, 9)  # a changed file is read anew, by the same axis
    assert act3d.index(str(folder), str(student_file), f"{folder}-index").new == 1
    with served(tmp_path / "shapes-index") as running:  # the index alone, which knows its model
        assert running.ask(f"/api/shape?id={first}")[1]["turned"] == "-z"
        assert running.ask("/api/tip", {"id": first, "how": "reset"}) == (200, {"up": "y"})
        running.session.jobs.start("", lambda progress: None).result(60)
        assert running.ask(f"/api/shape?id={first}")[1]["turned"] == ""
        assert "act3d app FOLDER" in running.ask("/api/work", {"what": "start"})[1]["error"]


def test_work_that_is_stopped_goes_on_where_it_was(library: Path, student_file: Path, tmp_path: Path) -> None:
    settings = {"checkpoint": str(student_file), "index": str(tmp_path / "index"), "data": {"batch_size": 1}}
    with served(library, **settings) as running:
        session, seen = running.session, []

        def stop_soon(progress: Any) -> None:
            say = progress.advance

            def advance(text: str = "", count: int = 1) -> None:
                seen.append(count)
                if len(seen) == 2:
                    session.jobs.stopping.set()
                say(text, count)

            progress.advance = advance
            session._refresh(progress)

        session.jobs.start("Looking", stop_soon).result(60)
        assert session.jobs.state.text.startswith("Stopped")
        assert session.library is None
        assert running.ask("/api/rows")[0] == 400
        session.jobs.stop()  # ends what has ended already: the next work may begin
        running.indexed()
        assert len(session.library) == 6


def test_a_folder_without_an_index_gets_one_by_the_encoder_that_comes_with_act3d(library: Path, tmp_path: Path) -> None:
    from act3d.app.session import Session
    from act3d.settings.app import AppSettings

    session = Session(AppSettings(source=str(library), index=str(tmp_path / "none")))
    assert session.models.checkpoint == SHIPPED


def test_an_index_of_a_model_that_has_changed_is_looked_at_and_says_what_can_be_done(
    library: Path, student_file: Path, tmp_path: Path
) -> None:
    mine, index = tmp_path / "mine.safetensors", tmp_path / "index"
    shutil.copy(student_file, mine)
    act3d.index(str(library), str(mine), str(index))
    act3d.save(act3d.load(student_file).model, mine, {"points": 32})
    changed = r"this index was made with .*mine\.safetensors as it was then, and it has changed; "
    with served(library, index=str(index)) as running:
        running.session.jobs.start("Looking for shapes", running.session._refresh).result(120)
        rows = rows_of(running)
        assert running.ask(f"/api/shape?id={rows['ids'][0]}")[0] == 200
        said = running.ask("/api/state")[1]["job"]["error"]
        assert re.match(changed + ".* begin another index by --index NEW_FOLDER", said), said
    with served(index) as running:
        status, said = running.ask("/api/drop?name=rod.obj", (library / "rod" / "rod0.obj").read_bytes())
        assert status == 400
        assert re.match(changed + ".* act3d index FOLDER --out NEW_FOLDER", said["error"]), said


def test_a_search_by_words_needs_a_model_that_learnt_names(app: Served) -> None:
    status, said = app.ask("/api/words?text=washer")
    assert status == 400
    assert "learnt no names" in said["error"]


def test_all_axes_are_reached_by_tipping_and_four_times_is_as_it_was() -> None:
    from act3d.app.session import TIPS

    for how, start in (("forward", "y"), ("sideways", "y"), ("forward", "z"), ("sideways", "x")):
        up = start
        for _ in range(4):
            up = TIPS[how][up]
        assert up == start
    reached = {"z"}
    for _ in range(6):
        reached |= {turns[up] for up in reached for turns in TIPS.values()}
    assert reached == set(TIPS["forward"])


def test_the_first_tip_is_the_turn_that_is_seen() -> None:
    from act3d.app.session import TIPS
    from act3d.readers.up_axis import rotation_to_y_up

    for up in ("x", "y", "z", "-x", "-z"):
        for how, direction in (("forward", (0, 0, -1)), ("sideways", (1, 0, 0))):
            axis = np.array(direction) @ rotation_to_y_up(up)  # in the file's coordinates
            assert rotation_to_y_up(TIPS[how][up]) @ axis == pytest.approx([0, 1, 0]), (up, how)
