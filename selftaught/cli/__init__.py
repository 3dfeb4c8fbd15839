"""The command line: `main` has the commands, the others what a terminal needs."""
