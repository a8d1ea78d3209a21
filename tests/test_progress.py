import io
import sys
import threading

import pytest

from act3d import progress as module
from act3d.errors import InputError
from act3d.progress import Progress, duration_text, phase, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands for the `time` module."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


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


def test_a_log_file_gets_one_line_every_half_minute(clock: Clock) -> None:
    stream = io.StringIO()
    for _ in track(_slow(clock, 100, 1.0), 100, "reading [1]", "shapes"):
        pass
    progress = Progress(total=100, stream=stream, text="reading [1]", unit="shapes")
    for _ in _slow(clock, 100, 1.0):
        progress.advance()
    assert stream.getvalue().splitlines() == [
        "reading [1]  1/100 shapes  1m39s left",
        "reading [1]  31/100 shapes  1m09s left",
        "reading [1]  61/100 shapes  39s left",
        "reading [1]  91/100 shapes  9s left",
    ]


def _slow(clock: Clock, count: int, seconds: float):  # type: ignore[no-untyped-def]
    for number in range(count):
        clock.now += seconds
        yield number


def test_time_left_knows_neither_pauses_nor_what_was_done_before(clock: Clock) -> None:
    progress = Progress(total=100, done=50, stream=io.StringIO())
    clock.now += 10
    progress.advance(count=10)
    assert progress.time_left(clock.now) == "40s"  # 1 s each, 40 are left
    clock.now += 600
    progress.pause(600)
    assert progress.time_left(clock.now) == "40s"


def test_a_total_that_is_known_late() -> None:
    stream = io.StringIO()
    progress = Progress(stream=stream, text="preparing", unit="models")
    progress.update(1, 4)
    assert stream.getvalue().startswith("preparing  1/4 models  ")


def test_a_terminal_gets_one_moving_line_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("act3d.progress.TERMINAL_SECONDS", 0.0)
    stream = Terminal()
    with Progress(total=2, stream=stream) as progress:
        progress.advance("a long [first] line")
        progress.advance("b")
        progress.say("done [really]")
    written = stream.getvalue()
    assert "a long [first] line" in written
    assert "done [really]\n" in written
    assert written.rstrip("\x1b[?25h").endswith("\r\x1b[1A\x1b[2K"), "the bar is removed at the end"


def test_standard_output_in_a_file_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("act3d.progress.TERMINAL_SECONDS", 0.0)
    stream, output = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    with Progress(total=2, stream=stream) as progress:
        progress.advance("a")
        print("a result")
    with phase("exporting", stream=stream):
        print("another")
    assert output.getvalue() == "a result\nanother\n"


def test_other_processes_stay_silent() -> None:
    stream = io.StringIO()
    progress = Progress(total=1, enabled=False, stream=stream)
    progress.advance("x")
    progress.say("y")
    with phase("z", enabled=False, stream=stream):
        pass
    assert stream.getvalue() == ""


def test_what_cannot_be_counted_is_said_once_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PHASE_SECONDS", 0.0)
    stream = io.StringIO()
    with phase("exporting", stream=stream):
        for timer in threading.enumerate():
            if isinstance(timer, threading.Timer):
                timer.join()
    assert stream.getvalue() == "exporting ...\n"


def test_what_is_short_is_not_mentioned_in_a_log() -> None:
    stream = io.StringIO()
    with phase("exporting", stream=stream):
        pass
    with pytest.raises(InputError), phase("exporting", stream=stream):
        raise InputError("one line is enough")
    assert stream.getvalue() == ""
    assert not [
        thread
        for thread in threading.enumerate()
        if isinstance(thread, threading.Timer) and not thread.finished.is_set()
    ]


def test_what_cannot_be_counted_leaves_no_trace_on_a_terminal() -> None:
    stream = Terminal()
    with phase("exporting [2]", stream=stream):
        pass
    assert "exporting [2]" in stream.getvalue()
    assert "\x1b[2K" in stream.getvalue()
