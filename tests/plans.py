"""Plans and records of rounds, as `prepare` and `report` would claim them, without their rounds."""

from selftaught.report.data import ReportData, RoundDetail, RoundRecord
from selftaught.round.job import ModelRef, Plan
from selftaught.state.ledger import DetailEntry, RecordEntry
from selftaught.state.round_key import RoundKey
from selftaught.state.store import Store


def fixed(key: RoundKey, tasks: str, started: float = 1.0, champion: str = "c" * 64, **value: object) -> bytes:
    """The plan of the round, whose champion does everything."""
    models = dict.fromkeys(("champion", "sampler", "trainee"), ModelRef(digest=champion))
    where = {"line": key.line, "campaign": key.campaign, "round": key.number, "attempt": key.attempt, "run": ""}
    plan = Plan.model_validate({**models, **where, "tasks": tasks, "started": started, **value})
    return plan.model_dump_json().encode()


def end_round(store: Store, key: RoundKey, page: ReportData) -> None:
    """End the round that `page` tells in full."""
    detail = {name: getattr(page, name) for name in RoundDetail.model_fields}
    kept = {name: getattr(page, name) for name in RoundRecord.model_fields if name != "round"}
    store.claim(DetailEntry(key).key, RoundDetail(**detail).model_dump_json().encode())
    store.claim(RecordEntry(key).key, RoundRecord(**kept, round=page.last).model_dump_json().encode())
