"""How a command ends: its exit code, and the outcomes of a run that ended no round."""

PROMOTED, ERROR, USAGE, REFUSED, FELL = 0, 1, 2, 3, 4
"""The documented exit codes."""

LIMIT = "limit reached"
EARLY = "stopped early"
UNDER_WAY = "under way"
