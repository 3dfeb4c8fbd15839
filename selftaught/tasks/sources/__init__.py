"""Where tasks come from: a block a file, and what sources of rows share."""
