"""The gate's decision, to JSON and back."""

from pydantic import TypeAdapter, ValidationError

from selftaught.blocks import Decision
from selftaught.core.errors import BadInput

_DECISION = TypeAdapter(Decision)


def decision_to_json(decision: Decision) -> str:
    """`decision` as JSON to keep and to read; equal decisions give equal text."""
    return _DECISION.dump_json(decision, indent=2).decode() + "\n"


def decision_from_json(text: str) -> Decision:
    """The decision that `decision_to_json` wrote. Raises BadInput on anything else."""
    try:
        return _DECISION.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"]) or "the text"
        raise BadInput(f"not a gate's decision: {location}: {first['msg']}. Run the gate again.") from None
