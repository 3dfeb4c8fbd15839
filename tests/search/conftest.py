"""Blocks of a search may hold blocks of other axes, which have to be known before the first is built."""

from selftaught.recipe import load_blocks

load_blocks()
