"""Renders an untrusted chat template in a separate process with limits on time and memory.

A template is a program. transformers runs it in a sandbox, which keeps it from files and from Python's insides, not
from continuing for ever or from taking all memory. So before a model is added to a line, its template has
to render a few plain conversations here. The process gets the template, conversations and special tokens, nothing else
(no environment), and gives texts. `python -m selftaught.training.templates` is that process.
"""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

SECONDS = 5
MEMORY = 2**30
"""What rendering may take, beside what Python and its packages do (CPU seconds, bytes)."""

LONGEST = 100_000
"""Characters that a conversation of a few words may become."""

Turns = Sequence[dict[str, str]]


def render_apart(tokenizer: Any, conversations: Sequence[Turns]) -> list[str]:
    """Each of `conversations` by the chat template of `tokenizer`, those that ask as the opening of an answer.

    Raises ValueError, saying why, when the template fails on one or passes a limit.
    """
    request = {
        "template": tokenizer.get_chat_template(),
        "tokens": tokenizer.special_tokens_map,
        "conversations": conversations,
    }
    done = subprocess.run(
        [sys.executable, "-I", "-m", __name__],
        input=json.dumps(request, default=str),
        capture_output=True,
        text=True,
        env={},
        check=False,
    )
    if done.returncode == -signal.SIGXCPU:
        raise ValueError(f"it was not done after {SECONDS} s")
    if done.returncode:
        raise ValueError(done.stderr.strip().rpartition("\n")[2][:200] or f"it ended with {done.returncode}")
    return cast(list[str], json.loads(done.stdout))


def main() -> None:
    """Render what stands in the standard input, and print the texts."""
    from transformers.utils import chat_template_utils as chats

    request, render = json.load(sys.stdin), cast(Any, chats).render_jinja_template
    _limit()
    try:
        texts = [
            render([turns], chat_template=request["template"], add_generation_prompt=_open(turns), **request["tokens"])[
                0
            ][0]
            for turns in request["conversations"]
        ]
    except MemoryError:
        sys.exit(f"it takes more than {MEMORY // 2**20} MiB")
    except Exception as error:  # noqa: BLE001 (whatever a template raises is its own)
        sys.exit(f"{type(error).__name__}: {error}".replace("\n", " "))
    if longest := [text for text in texts if len(text) > LONGEST]:
        sys.exit(f"it makes {len(longest[0])} characters of a few words")
    print(json.dumps(texts))


def _open(turns: Turns) -> bool:
    """Whether an answer is yet to come."""
    return turns[-1]["role"] == "user"


def _limit() -> None:
    """Let this process take `SECONDS` and `MEMORY` more than it has taken so far."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    memory = pages * resource.getpagesize() + MEMORY
    seconds = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])) + SECONDS
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


if __name__ == "__main__":
    main()
