"""The project folder, whose settings and home are used by commands anywhere below it.

It is the nearest folder, from the working folder upwards, that holds a home (`.selftaught`), settings
(`selftaught.toml`) or a checkout of Selftaught; where none does, the user's own home folder. Above the working folder
only what belongs to the user counts, because anybody may leave things in /tmp. It makes nothing.
"""

import os
from contextlib import suppress
from pathlib import Path

HOME, CONFIG, CHECKOUT = ".selftaught", "selftaught.toml", "pipelines/round.py"


def project_folder() -> Path:
    """The project's folder (absolute). Where a user has no home folder either, it is the working folder."""
    here = Path.cwd()
    if any((here / mark).exists() for mark in (HOME, CONFIG, CHECKOUT)):
        return here
    return next((folder for folder in here.parents if _marked_by_user(folder)), None) or _user_folder() or here


def _marked_by_user(folder: Path) -> bool:
    for mark in (HOME, CONFIG, CHECKOUT):
        with suppress(OSError):  # it is not there, or not accessible
            if (folder / mark).stat().st_uid == os.getuid():
                return True
    return False


def _user_folder() -> Path | None:
    with suppress(RuntimeError):  # neither HOME nor an account
        return Path.home()
    return None
