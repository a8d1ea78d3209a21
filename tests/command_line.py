from typing import Any

import pytest

from act3d import cli
from act3d.cli.table import settings_of


def settings_of_words(command: str, *words: str) -> Any:
    """Return the settings that a command line gives, without running the command or looking for files."""
    found: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings_of(command), "check_places", lambda _: None)
        patch.setattr("act3d.cli.options.next_step", lambda *_: "")
        patch.setattr("act3d.cli.options.load", lambda _: found.append)
        assert cli.main([command, *words, "--debug"]) == 0
    return found[0]
