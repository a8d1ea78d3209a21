import io

import pytest

from act3d.progress import Progress, duration_text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59.4, "59s"), (185, "3m05s"), (7620, "2h07m"), (-3, "0s")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_log_file_gets_whole_lines_and_few() -> None:
    stream = io.StringIO()
    progress = Progress(total=100, stream=stream)
    for number in range(100):
        progress.advance(f"step {number}")
    progress.say("done")
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("step 0  ")
    assert lines[0].endswith(" left")
    assert lines[-1] == "done"
    assert len(lines) == 2
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_one_moving_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("act3d.progress.TERMINAL_SECONDS", 0.0)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = Progress(total=2, stream=stream)
    progress.advance("a long first line")
    progress.advance("b")
    progress.say("done")
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r") == 4


def test_helpers_stay_silent() -> None:
    stream = io.StringIO()
    progress = Progress(total=1, enabled=False, stream=stream)
    progress.advance("x")
    progress.say("y")
    assert stream.getvalue() == ""
