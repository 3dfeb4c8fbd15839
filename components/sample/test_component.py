"""sample: each shard attempts its own tasks, once."""

import json
from pathlib import Path

from selftaught.records import Group, Task, dataset
from tests.rounds import Round


def test_shards_share_the_training_tasks(round: Round, engines: Path):
    round.prepare()
    round.sample()
    shards = [dataset.read(Path(round.made[f"groups-{shard}"].path), Group) for shard in (0, 1)]
    train = {task.id for task in dataset.read(Path(round.made["tasks"].path), Task) if task.split == "train"}
    assert [len(shard) for shard in shards] == [6, 6]
    assert {group.id for shard in shards for group in shard} == train
    assert {rollout.model for group in shards[0] for rollout in group.rollouts} == {round.job.sampler.digest}
    assert len(engines.read_text().splitlines()) == 12


def test_rollouts_carry_the_engines_own_tokens(round: Round):
    round.prepare()
    round.sample()
    for group in dataset.read(Path(round.made["groups-0"].path), Group):
        for rollout in group.rollouts:
            (turn,) = rollout.turns
            assert bytes(turn.token_ids).decode() == turn.content
            assert turn.logprobs == (-0.25,) * len(turn.token_ids)


def test_a_second_run_asks_nobody_and_gives_the_same(round: Round, engines: Path):
    round.prepare()
    round.sample()
    first, asked = round.made["groups-1"].metadata | {}, engines.read_text()
    round.made.pop("groups-1")
    round.sample()
    assert engines.read_text() == asked
    assert round.made["groups-1"].metadata == first


def test_what_was_journaled_is_not_asked_again(round: Round, engines: Path, platform):
    """As after a kill: the journal is there, the step's output is not."""
    round.prepare()
    round.sample()
    (key,) = [k for k in platform.store.claims("steps/sample") if _shard(platform, k) == _digest(round, "groups-0")]
    platform.store.release(key)
    (journal,) = (platform.store.directory / "journals").glob(f"line/{key}.jsonl")
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:4]))
    asked = len(engines.read_text().splitlines())
    before = round.made.pop("groups-0").metadata["digest"]
    round.sample()
    assert len(engines.read_text().splitlines()) == asked + 2
    assert _digest(round, "groups-0") == before


def _shard(platform, key: str) -> str:
    return platform.store.claimed(key).decode()


def _digest(round: Round, name: str) -> str:
    return json.loads((Path(round.made[name].path) / "manifest.json").read_text())["digest"]
