"""Plans of rounds, as `prepare` would claim them, without a recipe."""

from selftaught.round.job import ModelRef, Plan


def fixed(name: str, tasks: str, started: float = 1.0, champion: str = "c" * 64, **told: object) -> bytes:
    """The plan of the round `name` (`<line>/<campaign>/<round>-<attempt>`), whose champion does everything."""
    line, campaign, number = name.split("/")
    round, attempt = map(int, number.split("-"))
    models = dict.fromkeys(("champion", "sampler", "trainee"), ModelRef(digest=champion))
    where = {"line": line, "campaign": campaign, "round": round, "attempt": attempt, "run": ""}
    plan = Plan.model_validate({**models, **where, "tasks": tasks, "started": started, **told})
    return plan.model_dump_json().encode()
