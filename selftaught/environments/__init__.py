"""Environments that come with Selftaught, one a file; `selftaught.blocks.environment` says what one is."""
