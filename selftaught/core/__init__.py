"""What everything may use and what uses nothing of ours: errors, files, processes, progress, statistics."""
