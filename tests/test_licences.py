"""What act3d needs may be used beside its own licence, MIT."""

import pytest

from scripts.licences import licence, needed, refused


def test_every_package_that_act3d_needs_has_a_licence_that_may_be_used() -> None:
    found = {name: licence(name) for name in needed()}
    assert {"torch", "numpy", "pydantic", "scipy", "tensorboard", "werkzeug"} <= set(found)  # the last by tensorboard
    assert {name: words for name, words in found.items() if refused(words)} == {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("MIT", False),
        ("BSD-3-Clause AND Zlib", False),
        ("Apache Software License", False),
        ("GNU General Public License v3 (GPLv3)", True),
        ("LGPL-2.1-only", True),
        ("MIT OR GPL-2.0-only", False),
        ("MIT AND GPL-2.0-only", True),
        ("Other/Proprietary License", True),
        ("", True),
    ],
)
def test_what_is_refused(words: str, expected: bool) -> None:
    assert refused(words) is expected
