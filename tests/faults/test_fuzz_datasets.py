"""A thousand mutated datasets; many more by `python -m tests.faults.fuzz_datasets --inputs 20000`."""

from pathlib import Path

import pytest

from tests.faults.fuzz_datasets import fuzz


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mutated_datasets_end_in_one_line(tmp_path: Path) -> None:
    faults = fuzz(tmp_path, inputs=1000, seed=1)
    assert not faults, faults.most_common(5)
