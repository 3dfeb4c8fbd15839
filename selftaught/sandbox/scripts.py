"""Scripts that a model wrote, as an interactive interpreter runs them: what they print, and the value of the last line.

What comes back is text for a model to read, and a claim of whoever wrote the script: nothing may be decided by it
alone. Random numbers have one seed, so that a script prints the same in every run.
"""

from selftaught.sandbox.endings import cut, ending
from selftaught.sandbox.harness import AS_MODULE
from selftaught.sandbox.protocol import MIB, Limits, Outcome, Program, Termination

LIMITS = Limits(cpu_s=2, wall_s=20.0, memory=256 * MIB)
MAX_PRINTED = 1000
"""Characters of an output that are shown."""

_HARNESS = f"""{AS_MODULE}
import ast
import random
with open("script.py", encoding="utf-8", errors="surrogateescape") as file:
    tree = ast.parse(file.read(), "script.py")
random.seed(0)
space = as_module("__main__", "script.py")
exec(compile(ast.Module(tree.body[:-1], []), "script.py", "exec", dont_inherit=True), space)
exec(compile(ast.Interactive(tree.body[-1:]), "script.py", "single", dont_inherit=True), space)
"""


def running(source: str) -> Program:
    """The program that runs `source`, and prints the value of its last line where that is an expression."""
    return Program(_HARNESS, files={"script.py": source.encode("utf-8", "surrogatepass")}, limits=LIMITS)


def printed(outcome: Outcome) -> str:
    """What a script printed, cut to `MAX_PRINTED`, and how it ended where it did not come to its end."""
    said = cut(outcome.stdout.decode("utf-8", "replace").strip(), MAX_PRINTED)
    came_to_its_end = outcome.ended == Termination.EXITED and outcome.exit == 0
    return "\n".join(filter(None, (said, "" if came_to_its_end else ending(outcome)))) or "(no output)"
