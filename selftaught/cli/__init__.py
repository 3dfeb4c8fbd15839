"""The command line: `main` has the commands, the other modules terminal output."""
