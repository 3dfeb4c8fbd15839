"""Testing a block of one's own, without an engine: a model that says what a test wants, and the checks every block has.

from selftaught.testing import check_block, sums

def test_my_verifier() -> None:
assert check_block(MyVerifier(), sums()) == []
"""

from selftaught.testing.checks import check_block
from selftaught.testing.models import ScriptedModel
from selftaught.testing.rehearsal import rehearse
from selftaught.testing.tasks import sums

__all__ = ["ScriptedModel", "check_block", "rehearse", "sums"]
