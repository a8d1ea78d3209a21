"""Runs with `--trainer.compile`: what is compiled, and that it trains as it does without."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from act3d.engine.log import read_metrics


@pytest.mark.parametrize(("stage", "part"), [("stage1", "loss"), ("stage2", "features")])
def test_a_compiled_run_is_the_run_without(
    stage: str, part: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = request.getfixturevalue(stage)
    plain = run(tmp_path / "plain", epochs=2)
    compiled: list[str] = []
    modes: list[str] = []
    # Traced and differentiated as ever, but not turned into machine code: that takes minutes.
    trace = partial(torch.compile, backend="aot_eager")

    def remember(function: Any, *given: Any, **options: Any) -> Any:
        compiled.append(function.__name__)
        modes.append(options.pop("mode"))
        return trace(function, *given, **options)

    monkeypatch.setattr(torch, "compile", remember)
    torch._dynamo.reset()
    fast = run(tmp_path / "fast", epochs=2, compile=True, compile_mode="reduce-overhead")
    assert compiled == ["_call_impl", part]
    assert modes == ["reduce-overhead"] * 2
    losses = [
        [float(row["loss"]) for row in read_metrics(out / "metrics.csv") if row["loss"]]
        for out in (plain.out, fast.out)
    ]
    assert len(losses[0]) >= 6
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
