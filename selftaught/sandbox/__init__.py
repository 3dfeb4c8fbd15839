"""Runs programs that models wrote: nothing of what they do or print is trusted.

`protocol` says what is asked and answered; `process` runs it on this machine, `remote` in the pods of a `server`;
`shared` is whichever the settings name. `calls` asks a program's functions for values. Expected values never enter a
sandbox, and no code of the platform runs in one: who compares, compares outside.
"""
