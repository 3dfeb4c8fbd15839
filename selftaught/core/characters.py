"""Invisible and terminal control characters: shown by name in untrusted text.

Models, task files, tags and file names may hold escape sequences (which clear a screen or write a clipboard), marks
that turn the direction of reading, and letters without ink. Escaping for a markup language is not done here.
"""

import re
import unicodedata

_LETTERS_WITHOUT_INK = "\u115f\u1160\u2800\u3164\uffa0"
_JOINERS = "\u200c\u200d"
"""Without these, Persian and many emoji are other words."""
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_SUSPECT = re.compile(rf"[^\n\t -~\u00a1-\u00ac\u00ae-\u02ff]|[{_LETTERS_WITHOUT_INK}]")


def named(text: str) -> str:
    """`text` with every hidden character as its code point; line ends, tabs and joiners stay.

    >>> named("a\\u202eb\\x00\\x1b[2J")
    'a⟨U+202E⟩b⟨U+0000⟩⟨U+001B⟩[2J'
    """
    return _SUSPECT.sub(_name, text)


def _name(match: re.Match[str]) -> str:
    letter = match[0]
    hidden = unicodedata.category(letter) in _HIDDEN and letter not in _JOINERS
    return f"⟨U+{ord(letter):04X}⟩" if hidden or letter in _LETTERS_WITHOUT_INK else letter
