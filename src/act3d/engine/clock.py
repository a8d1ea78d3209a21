"""How long a run has trained, and how fast."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from act3d.engine.state import Position


class Clock:
    """Adds the seconds of a session to a run's position.

    Args:
        position: the run's position; its `training_s`, `duration_s` and `clouds` move on.
    """

    def __init__(self, position: Position) -> None:
        self.position = position
        self.saved_at = self._window_began = self._counted = time.monotonic()
        self._window_clouds = 0

    def count(self, training: bool = True) -> None:
        """Add the time since the last call to the run's; `training` tells whether it went into training."""
        now = time.monotonic()
        self.position.duration_s += now - self._counted
        if training:
            self.position.training_s += now - self._counted
        self._counted = now

    def add(self, clouds: int) -> None:
        """Count clouds that were trained on."""
        self.position.clouds += clouds
        self._window_clouds += clouds

    def speed(self) -> float:
        """Return clouds a second since the last call, without pauses, and start anew."""
        self.count()
        now = time.monotonic()
        speed = self._window_clouds / max(now - self._window_began, 1e-9)
        self._window_began, self._window_clouds = now, 0
        return speed

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what happens inside (saving, validating) out of the time of training."""
        self.count()
        began = time.monotonic()
        yield
        self._window_began += time.monotonic() - began
        self.count(training=False)
