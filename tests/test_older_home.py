"""What release 0.1.0 left behind can be read: its registry, its rounds, every data set, its drops.

`tests/fixtures/make_home.py` says what is in the archive.
"""

import tarfile
from pathlib import Path

import pytest

from selftaught.platform import Platform
from selftaught.records import RECORDS, Example, Group, dataset
from selftaught.round.history import records
from selftaught.state.weights import check_model, model_digest

ARCHIVE = Path(__file__).parent / "fixtures" / "home-0.1.0.tar.xz"
ROUNDS = {
    "sums": [(1, "promoted"), (2, "refused")],
    "trees": [(1, "promoted")],
    "drops": [(1, "refused")],
    "failed": [(1, "failed")],
}


@pytest.fixture
def older(home: Path) -> Platform:
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(home.parent, filter="data")
    return Platform.open()


def test_its_lines_and_rounds_are_known(older: Platform):
    assert set(older.tracker.lines()) == set(ROUNDS)
    for line, rounds in ROUNDS.items():
        assert [(r.key.number, r.outcome) for r in older.tracker.rounds(line, line)] == rounds
        assert older.tracker.resolve(line, "champion")


def test_its_rounds_are_told_with_what_was_measured(older: Platform):
    for line, rounds in ROUNDS.items():
        items = [record.round for _, record in records(older, line, line)]
        assert [(report.round, report.outcome) for report in items] == [r for r in rounds if r[1] != "failed"]
        assert all(report.gate and report.summaries and report.gains for report in items)


def test_every_data_set_is_read_to_its_digest(older: Platform):
    """`dataset.read` compares the digest of the rows with the manifest's."""
    folders = [path for path in (older.settings.home / "store" / "datasets").iterdir() if path.is_dir()]
    read = {path: dataset.read(path, RECORDS[dataset.manifest(path).kind]) for path in folders}
    rows = [row for some in read.values() for row in some]
    assert {type(row) for row in rows} == set(RECORDS.values())
    assert {row.target.type for row in rows if isinstance(row, Example)} == {"imitate", "prefer", "regress"}
    assert any(row.tree for row in rows if isinstance(row, Group))


def test_its_models_have_the_digests_that_they_are_called_by(older: Platform):
    for line in ROUNDS:
        for version in older.tracker.versions(line):
            folder = older.store.local("models", version.digest, older.settings.home / "cache")
            check_model(folder)
            assert model_digest(folder) == version.digest
