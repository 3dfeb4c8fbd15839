"""The command line: `main` is the program, `commands` what it can do, the other modules what these share."""
