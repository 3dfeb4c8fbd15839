"""The boundary to other people's blocks: their exceptions, and results of a wrong type, are reported by block and line.

Runners call blocks through it. Errors of this project, which say what to do already, pass; a bug in a built-in block
keeps its traceback. What a verifier raises is a verdict's error (`Verifier.judge`), and none of this.
"""

import inspect
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

from selftaught.blocks.block import Block, within
from selftaught.core.errors import BadInput, SelftaughtError

T = TypeVar("T")
FRAMES = 4
"""Lines of code that an error names, the innermost ones."""


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


@contextmanager
def blamed(block: object, method: str) -> Generator[None]:
    """Raise BadInput for what is raised meanwhile, where `block` or one in it is not built in."""
    try:
        yield
    except SelftaughtError:
        raise
    # Whatever somebody else's block may raise is named here, once.
    except Exception as error:
        theirs = _of_others(block)
        if theirs is None:
            raise
        lines = "".join(f"\n  {line}" for line in _lines(error, type(theirs)))
        raise BadInput(
            f"{_named(theirs)}: {method} raised {type(error).__name__}: {error}. Fix the block.{lines}"
        ) from error


def _checked(block: object, method: str, kind: type[T], value: object) -> T:
    if isinstance(value, kind) or (kind is float and isinstance(value, int)):
        return cast(T, value)
    raise _wrong(block, method, f"a {kind.__name__}", value)


def _wrong(block: object, method: str, expected: str, value: object) -> BadInput:
    shown = "None" if value is None else f"{type(value).__name__} {value!r:.60}"
    return BadInput(f"{_named(block)}: {method} returned {shown}, and has to return {expected}. Fix the block.")


def _named(block: object) -> str:
    kind = type(block)
    module = f"{kind.__module__}.{kind.__qualname__}"
    return f"{block.axis} '{block.name}' ({module})" if isinstance(block, Block) else module


def _of_others(block: object) -> Block | None:
    """The outermost block in `block` that is not built in."""
    return next((one for one in within(block) if not type(one).__module__.startswith("selftaught.")), None)


def _lines(error: BaseException, kind: type[Block]) -> list[str]:
    """The code that raised `error`, from the block's own file on."""
    frames = traceback.extract_tb(error.__traceback__)
    own = inspect.getsourcefile(kind)
    begin = next((at for at, frame in enumerate(frames) if frame.filename == own), 0)
    return [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames[begin:][-FRAMES:]]
