"""Shared by all other packages, and importing none of them: errors, files, processes, progress, statistics."""
