"""Programs that test themselves: whether one comes to its end with its own assertions, and how many it makes.

That they hold is the program's claim of itself; whether it does what was asked, nobody has looked at. Random numbers
have one seed, so that it holds in every run or in none.
"""

from selftaught.sandbox.harness import AS_MODULE
from selftaught.sandbox.protocol import Limits, Outcome, Program

_HARNESS = f"""{AS_MODULE}
import ast
import os
import random
results = os.dup(3)
os.close(3)
with open("solution.py", encoding="utf-8", errors="surrogateescape") as file:
    tree = ast.parse(file.read(), "solution.py")
made = [each for each in tree.body if isinstance(each, ast.Assert)]
calls = sum(any(isinstance(part, ast.Call) for part in ast.walk(each)) for each in made)
random.seed(0)
exec(compile(tree, "solution.py", "exec", dont_inherit=True), as_module("solution", "solution.py"))
os.write(results, str(calls).encode())
"""


def asserting(source: str, limits: Limits) -> Program:
    """The program that runs `source` to its end, and then says how many of its assertions call something."""
    return Program(_HARNESS, files={"solution.py": source.encode("utf-8", "surrogatepass")}, limits=limits)


def held(outcome: Outcome) -> int | None:
    """How many assertions held that call something; None where the program did not come to its end."""
    return int(outcome.results) if outcome.results.isdigit() and len(outcome.results) < 5 else None
