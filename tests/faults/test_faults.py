"""Every fault of the table, a few times (`make test-faults`); more by `python -m tests.faults.table --times 12`."""

import pytest

from tests.faults import table
from tests.faults.children import warm_up
from tests.faults.interrupted import Stage

pytest.importorskip("lancedb")
pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    warm_up()
    return Stage(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize(("name", "kind", "fault", "share"), table.FAULTS, ids=[fault[0] for fault in table.FAULTS])
def test_nothing_is_lost(stage: Stage, name: str, kind: str, fault: table.Fault, share: float) -> None:
    results = table.do(stage, kind, fault, max(1, round(3 * share)))
    if results is None:
        pytest.skip("file systems cannot be mounted here")
    if not results:
        pytest.skip("every strike came too late")
    assert not [result for result in results if result]
