"""What rounds leave for those after them: a record each, of that round alone, read one at a time."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from selftaught.platform import Platform
from selftaught.report.data import ReportData, RoundDetail, RoundRecord
from selftaught.round.history import detail, newest, page_of, recorded, records
from selftaught.state.ledger import RecordEntry
from selftaught.state.round_key import RoundKey
from selftaught.state.store import DirectoryStore
from tests.plans import end_round
from tests.report.sample_report import sample

PAGE = sample(1)


class Noting(DirectoryStore):
    """A store that notes the claims that are read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read_claims: list[str] = []

    @override
    def claimed(self, key: str) -> bytes | None:
        self.read_claims.append(key)
        return super().claimed(key)


@pytest.fixture
def platform(home: Path) -> Platform:
    return replace(Platform.open(), store=Noting(home / "store"))


def key(number: int, campaign: str = "weekly") -> RoundKey:
    return RoundKey("line", campaign, number)


def page(number: int) -> ReportData:
    return PAGE.model_copy(update={"rounds": (PAGE.last.model_copy(update={"round": number}),)})


def test_three_hundred_rounds_take_three_hundred_times_one_and_no_more_memory(platform: Platform):
    sizes = dict[int, int]()
    peaks = dict[int, int]()
    for rounds in (3, 30, 300):
        for number in range(len(platform.store.claims("rounds")) + 1, rounds + 1):
            end_round(platform.store, key(number), page(number))
        sizes[rounds] = sum(each.bytes for each in platform.store.stored_claims("rounds"))
        peaks[rounds] = _peak(platform)
    assert sizes[300] / 300 == pytest.approx(sizes[3] / 3, rel=0.01)
    a_round = (peaks[300] - peaks[30]) / 270  # its name, while its record goes as the next one comes
    assert a_round < sizes[300] / 300 / 5


def _peak(platform: Platform) -> int:
    """Bytes that reading every record once takes at the most."""
    tracemalloc.start()
    for _ in records(platform, "line", "weekly"):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_rounds_are_known_by_their_records_alone(platform: Platform):
    """Not by what their pages show, nor by the rounds of campaigns whose names begin alike."""
    for number in (2, 1, 10):
        end_round(platform.store, key(number), page(number))
    end_round(platform.store, key(1, "weekly-2"), page(1))
    assert isinstance(platform.store, Noting)
    platform.store.read_claims.clear()
    assert [each.round.round for _, each in records(platform, "line", "weekly")] == [1, 2, 10]
    assert platform.store.read_claims == [RecordEntry(key(number)).key for number in (1, 2, 10)]
    assert newest(platform, "line", "weekly") == key(10)


def test_a_page_has_the_rounds_up_to_its_own_and_the_detail_of_that_one(platform: Platform):
    for number in (1, 2, 3):
        end_round(platform.store, key(number), sample(number))
    for number in (1, 2, 3):
        page = sample(number).model_copy(update={"mlflow": "", "experiment": ""})
        assert page_of(platform, key(number)) == page


def test_a_record_of_release_0_1_which_has_all_rounds_before_it_is_read_as_its_last(platform: Platform):
    """Nor are the rounds before it looked at, which may have been written by yet earlier versions."""
    page: dict[str, Any] = json.loads(sample(3).model_dump_json())
    page["rounds"][0] = {"written": "by another version"}
    platform.store.claim(RecordEntry(key(3)).key, json.dumps(page).encode())
    assert recorded(platform, key(3)) == _kept(RoundRecord, sample(3)).model_copy(update={"round": sample(3).last})
    assert detail(platform, key(3)) == _kept(RoundDetail, sample(3))


def _kept(kind: Any, page: ReportData) -> Any:
    return kind.model_construct(**{name: getattr(page, name) for name in kind.model_fields if name != "round"})
