"""The boundary to other people's blocks: their exceptions, and results of a wrong type, are reported by block and line.

Runners call blocks through it. Errors of this project, which say what to do already, pass; a bug in a built-in block
keeps its traceback. What a verifier raises is a verdict's error (`Verifier.judge`), and none of this.
"""

import traceback
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from selftaught.blocks.axes import Control, Curator
from selftaught.blocks.block import Block, file_of, shown, within
from selftaught.blocks.results import Observed, State
from selftaught.core.errors import BadInput, SelftaughtError
from selftaught.core.validation import described
from selftaught.records import Example, Group, Task

T = TypeVar("T")
FRAMES = 3
"""Lines of code that an error names beside the last one in the block's own file: the innermost ones."""


def called(block: object, method: str, kind: type[T], call: Callable[[], object]) -> T:
    """What `call`, of a `method` of `block`, returns. Raises BadInput where it is no `kind`, and for what it raises."""
    with blamed(block, method):
        value = call()
    return _checked(block, method, kind, value)


async def awaited(block: object, method: str, kind: type[T], call: Callable[[], Awaitable[object]]) -> T:
    """As `called`, for a method that is awaited."""
    with blamed(block, method):
        value = await call()
    return _checked(block, method, kind, value)


def iterated(block: object, method: str, kind: type[T], call: Callable[[], object]) -> Iterator[T]:
    """As `called`, for a method that returns or yields some of `kind`, which come as they are made."""
    with blamed(block, method):
        values = call()
    if not isinstance(values, Iterable):
        raise _wrong(block, method, f"an iterable of {kind.__name__}", values)
    made = iter(cast(Iterable[object], values))
    while True:
        with blamed(block, method):
            try:
                value = next(made)
            except StopIteration:
                return
        yield _checked(block, method, kind, value)


def examples_of(curator: Curator, groups: Sequence[Group], seed: int) -> Iterator[Example]:
    """What `curator` makes of `groups`, as it comes."""
    return iterated(curator, "curate", Example, lambda: curator.curate(groups, seed))


def chosen_by(control: Control, tasks: Sequence[Task], count: int, state: State, seed: int) -> list[Task]:
    """What `control` chooses of `tasks` by `state`."""
    return list(iterated(control, "choose", Task, lambda: control.choose(tasks, count, state, seed)))


def state_after(control: Control, state: State, seen: Observed) -> State:
    """What `control` remembers once it has `seen` a round."""
    return cast(State, called(control, "observe", Mapping, lambda: control.observe(state, seen)))


@contextmanager
def blamed(block: object, method: str) -> Generator[None]:
    """Raise BadInput for what is raised meanwhile in the file of `block`, or of one in it, that is not built in."""
    try:
        yield
    except (SelftaughtError, MemoryError):
        raise
    # Whatever somebody else's block may raise is named here, once.
    except Exception as raised:
        error = raised.__cause__ if isinstance(raised.__cause__, StopIteration) else raised  # a generator hides it
        theirs, frames = _of_others(block, error)
        if theirs is None or (isinstance(error, OSError) and not isinstance(error, FileNotFoundError)):
            raise
        lines = "".join(f"\n  {Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames)
        raise BadInput(f"{_named(theirs)}: {method} raised {described(error)}. Fix the block.{lines}") from error


def _of_others(block: object, error: BaseException) -> tuple[Block | None, list[traceback.FrameSummary]]:
    """The outermost block in `block` that is not built in and in whose file `error` came about, and the lines there.

    Of these the last one in that file, and the innermost ones.
    """
    frames = traceback.extract_tb(error.__traceback__)
    for one in within(block):
        if type(one).__module__.startswith("selftaught."):
            continue
        own = [at for at, frame in enumerate(frames) if frame.filename == file_of(type(one))]
        if own:
            return one, [frames[own[-1]], *frames[own[-1] + 1 :][-FRAMES:]]
    return None, []


def _checked(block: object, method: str, kind: type[T], value: object) -> T:
    if isinstance(value, kind):
        return value
    if kind is float and hasattr(value, "__float__") and not isinstance(value, str):  # whole numbers, numpy's
        return cast(T, float(cast(Any, value)))
    raise _wrong(block, method, f"a {kind.__name__}", value)


def _wrong(block: object, method: str, expected: str, value: object) -> BadInput:
    return BadInput(f"{_named(block)}: {method} returned {shown(value)}, and has to return {expected}. Fix the block.")


def _named(block: object) -> str:
    kind = type(block)
    module = f"{kind.__module__}.{kind.__qualname__}"
    return f"{block.axis} '{block.name}' ({module})" if isinstance(block, Block) else module
