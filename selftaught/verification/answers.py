r"""Final answers: finding the one that a text gives, and saying whether two are mathematically equal.

Only what was finished is read: nothing in an open `<think>` or an open \boxed{, and of a text that was cut off only
what it states in full. A number is read with all that it is part of (`.5`, `2^10`, `12 m^2`, `3:30 PM`, `10-12`), never
the last digits of that.

Equality has math-verify's semantics (1/2 = 0.5 = \frac12; units, currency and thousands separators ignored; 50% equals
both 50 and 0.5). Plain numbers are compared with exact fractions (`numbers`); only what is more than a number goes
through sympy (`symbolic`), in limited time. Nothing here looks at the reasoning before the answer.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from selftaught.verification.listings import grid, is_row, same_numbers
from selftaught.verification.numbers import (
    CHANGES,
    CURRENCY,
    DECIMAL,
    PERCENT,
    SCALES,
    close,
    number,
    undressed,
    unwrapped,
)
from selftaught.verification.symbolic import leading, symbolically_equal
from selftaught.verification.writing import plain

__all__ = ["TOLERANCE", "compared", "equal", "final_answer", "number", "says"]

TOLERANCE = 1e-6
MAX_CHARS, MAX_WORDS = 200, 2
"""What is longer is prose and compared as text only: in sympy it would take long and come to nothing."""
MAX_BOXES = 4
"""So many different boxed answers are compared with one another; more than these are several answers."""

Comparison = Literal["equal", "unequal", "too slow"]

# What a mention is made of ------------------------------------------------------------------------------------------

_BRACES = r"\{(?:[^{}\n]|\{(?:[^{}\n]|\{[^{}\n]*\})*\})*\}"
_OPERATOR_WORD = r"(?:times|cdot|div|pm|mp|le|leq|ge|geq|ne|neq|approx|to|in|quad|qquad|implies|Rightarrow|boxed|fbox)"
_COMMAND = rf"\\(?!{_OPERATOR_WORD}(?![a-zA-Z]))[a-zA-Z]+(?:\[[^\[\]\n]*\])?(?:[ ]?{_BRACES})*"
_SIMPLE_FRAC = r"\\[dtc]?frac\s*\d\s*\d|\\sqrt\s*\d"
_DIGITS = rf"\\?[{CURRENCY}]?(?:{DECIMAL})(?:[eE][-+]?\d{{1,4}}(?!\w))?(?!\.?\d)"
_ATTACHED = (
    r"(?:\\?%|!(?=\s*[a-z+*/)=-])|(?!x\d)[A-Za-z°]+|[ ]?[A-Za-zμ]{1,4}\^\{?-?\d\}?"
    r"|[ ]?[A-Za-zμ]{1,4}/[A-Za-z]{1,4}(?:\^\{?-?\d\}?)?(?![A-Za-z]))?"
)
_NUMERAL = rf"(?:\d+[ ]+(?=\d+[ ]?/[ ]?\d))?{_DIGITS}{_ATTACHED}"
_LETTER = r"(?<![A-Za-z\d\\'.])[A-Za-z](?![A-Za-z\d'])"
_GROUP = (
    r"[(\[](?:(?![A-Za-z]{2}|\d[A-Za-z]{2})[-+*/^=:!\d.,\sA-Za-z°%]|\\[a-zA-Z]+|[{}]"
    r"|\((?:(?![A-Za-z]{2})[-+*/^\d.,\sA-Za-z])*\))++[)\]]"
)
_CALL = r"(?:sqrt|cbrt|log(?:_?\d+)?|ln|lg|exp|sin|cos|tan|abs|floor|ceil|max|min|gcd|lcm)(?=\()" + _GROUP
_RAISED = rf"(?:(?:\^|\*\*(?=\d))\s*(?:{_BRACES}|-?\d+|-?[A-Za-z](?![A-Za-z])|\\circ))?(?:_\w|_{_BRACES})?"
_JOIN = (
    r"(?:[ ][a-z]{2,}){0,2}[ \t]*(?:\+/-|[+*/]|\\times|\\cdot|\\div|\\pm)[ \t]*|(?<=\S)-(?=\S)|[ \t]+-[ \t]+"
    r"|(?<=\S):(?=\d)|(?<=\d)[ ]:[ ](?=\d)|(?<=\d)[ ]?x[ ]?(?=\d)|,(?=\d)"
)
_JOINED = rf"[-+]?(?:{_CALL}|{_SIMPLE_FRAC}|{_COMMAND}|{_NUMERAL}|{_LETTER}|{_GROUP}){_RAISED}"
_BESIDE = rf"[ ]?(?:{_SIMPLE_FRAC}|{_COMMAND}){_RAISED}|(?:{_GROUP}|{_LETTER}){_RAISED}"
_RUN = rf"""
    (?:(?<![A-Za-z\d_.)}}\]%])(?:\+/-[ ]?|\\[pm][mp](?![a-z])[ ]*|[-+]))?      # the minus of -5, but not of 10-5
    (?<![A-Za-z\d_^])(?<!\d[.,])(?<!\^\{{)(?<!_\{{)(?<!\.\.)      # not the 2 of H2O, m^2, x_2
    (?>{_CALL}|{_SIMPLE_FRAC}|{_COMMAND}|{_NUMERAL}|{_LETTER}|{_GROUP}){_RAISED}
    (?:(?>(?:{_JOIN}){_JOINED})|(?>{_BESIDE}))*+
    (?:\s*{PERCENT})?(?:[ ](?:{"|".join(SCALES)})\b)?(?:[ ]?[apAP]\.?[mM]\b\.?)?
"""
_MENTION = re.compile(
    rf"""(?<!\\)\$\$(?P<block>[^$]+?)\$\$ | (?<!\\)\$(?P<dollars>\S(?:[^$\n]*?[^\s\\])?)\$(?!\d)
    | \\\((?P<inline>(?:(?!\\\().)+?)\\\) | \\\[(?P<display>(?:(?!\\\[).)+?)\\\] | (?P<run>{_RUN})""",
    re.VERBOSE | re.DOTALL,
)
_DISPLAY = re.compile(r"\s*(?:\$\$[^$]+\$\$|\\\[(?:(?!\\\[).)+?\\\])", re.DOTALL)

# Where an answer stands ---------------------------------------------------------------------------------------------

_STATED = re.compile(
    r"(?:####|(?:\banswer\b|\b(?:correct|right|best)\s(?:option|choice)\b)[^.\n]{0,60}?(?:\bis\b|:|=))[\s*:]*",
    re.IGNORECASE,
)
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_SHOWN = re.compile(r"\\begin\{((?:align|equation|gather|multline)\*?)\}(.*?)\\end\{\1\}", re.DOTALL)
_ALIGNED = re.compile(r"\\(?:begin|end)\{(?:aligned|gathered|split)\}|&(?=\s*=)")
_TAGS = re.compile(r"<\|\w+\|>|</?[a-z]\w*>", re.IGNORECASE)
_RELATION = re.compile(r"(?<=[\w)}\]])\s*(?:[<>]|!=|\\(?:le|ge|leq|geq|ne|neq)(?![a-zA-Z]))")
_RELATED = re.compile(rf"(?:[A-Za-z]\s*)?(?:(?:{_RELATION.pattern})=?)\s*$")
_RELATED_ON = re.compile(rf"{_RELATION.pattern}=?\s*[A-Za-z](?![A-Za-z])")
_NEGATIVE = re.compile(
    r"\bnegative\s+(?=[\d.\\$])|(?:^|(?<=\bis )|(?<=[=:] ))minus\s+(?=[\d.\\$])", re.IGNORECASE | re.MULTILINE
)
_NOT = re.compile(r"\bnot(?:\s+(?:exactly|equal\s+to))?\s*$", re.IGNORECASE)
_GOES_ON = re.compile(rf"[\s-]*(?:and\s+(?:a|one)\s+(?:half|third|quarter)|{CHANGES})\b", re.IGNORECASE)
_PROPORTION = re.compile(r"(?:to|out of)(?!\S)")
_PARTS = re.compile(
    r"(?:hours?|hrs?|h|minutes?|mins?|weeks?|days?|years?|feet|foot|ft|yards?|pounds?|lbs?|dollars?|euros?|gallons?|met(?:er|re)s?"
    r"|km|kg|m)\.?(?:\s+and)?\s+(?:hours?|hrs?|minutes?|mins?|seconds?|secs?|days?|months?|feet|ft|inch(?:es)?|in|cents?|pence|ounces?"
    r"|oz|quarts?|cm|m|grams?|g)\b|'\s+(?:\"|''|$)"
)
"""What stands between two numbers, and after the second, of a quantity in two units."""
_CLAUSE_END = re.compile(
    r"\n|(?<!\bRs)(?<!\b[Nn]o)(?<!\bapprox)\.(?=\s|$)|[;?](?=\s|$)|!(?=\s+[^a-z\s=+*/<>-]|\s*$)|,\s+(?=[A-Za-z]{2})|\s(?:because|since|which|as)\s"
)
_EQUALS = re.compile(r"(?<![<>!])=(?!>)")
_COUNTED = re.compile(r"(?:[ ][a-z]{2,})+(?=[ ]*(?:[+*/-]|\\times|\\cdot|\\div)[ ]*[\d$(\\])")
_SENTENCE_GOES_ON = re.compile(r"[.,;!?]*\s")
_MARKED = re.compile(rf"=|\\boxed|{_STATED.pattern}", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[{}\\]|[{}]")
_THINK = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_THOUGHT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_WORD = re.compile(r"(?<![\\A-Za-z])[^\W\d_]{2,}")
_CUT_WORD = re.compile(r"\s*([a-z]+)$")
_CHANGES_VALUE = (*SCALES, "percent", "per", "and", "or", "to", "over", "times", "plus", "minus", "dozen", "half")
_LOOKS_MATHEMATICAL = re.compile(r"[\d\\^+*/=<>]")
_INITIAL = re.compile(r"[A-Z]\.(?:\s|$)")
_OPTION = re.compile(r"\(?([A-Za-z])\)?\s*(?:[:.)]\s*|(?<=\))\s+)(\S.*)", re.DOTALL)
_LETTER_ALONE = re.compile(r"(?:(?:option|choice|answer)\s+)?[(\[]?([a-z])[)\].:]?")
_RANGE = re.compile(r"(\d[\d.,]*)-(\d[\d.,]*)(?![\d^*/+(])(.*)", re.DOTALL)
_ORNAMENT = " *_`\"'$"
_EXCLAMATION = re.compile(r"(?<!\d)!+$")
_CLOCK = re.compile(r"(\d{1,2}(?::\d\d)?)\s*([ap])\.?\s?m\b\.?", re.IGNORECASE)
_ITS_SAYING = re.compile(r"(?:(?:so|thus|hence|therefore),?\s+)?(?:it|that|this)(?:\s+(?:is|was)|'s)\s+", re.IGNORECASE)


def final_answer(text: str, *, finished: bool = True) -> str | None:
    r"""The answer that `text` ends up with, or None when it gives none, or several.

    In order of preference: what is boxed (different boxed answers: None); what the last `<answer>` holds; what follows
    the last "#### " or "answer is"; a complete line of mathematics; the last number or formula; a few words as a
    complete. What is thought (up to `</think>`, or from an open `<think>` on) is not read, nor a text with an open
    \boxed{ and no closed one. A text that is not `finished` (cut off, broken off) has one only where it is boxed or
    tagged, or stated with something after it.
    """
    spoken = _ALIGNED.sub("", _SHOWN.sub(r"\\[\2\\]", _spoken(plain(text))))
    boxes, is_open = _boxes(spoken)
    if boxes:
        return _agreed(boxes)
    if is_open:
        return None
    if tagged := _TAGGED.findall(spoken):
        return _said(_clause(tagged[-1].strip()))
    spoken = _NEGATIVE.sub("-", _TAGS.sub("", spoken))
    if not finished:
        return _stated_integer(spoken)
    answer = spoken.strip()
    return grid(answer) or _stated(answer) or _bare_formula(answer) or _last_mention(answer) or _few_words(answer)


def equal(answer: str, gold: str, tolerance: float = TOLERANCE) -> bool:
    """Whether `answer` means the same as `gold`; numbers may differ by `tolerance`, absolutely and relative to gold."""
    return compared(answer, gold, tolerance) == "equal"


def compared(answer: str, gold: str, tolerance: float = TOLERANCE) -> Comparison:
    """What `equal` says, and whether that is only so because comparing took too long."""
    if _folded(answer) == _folded(gold):
        return "equal"
    if same := _same_option(answer, gold):
        return same
    if _as_text(answer, gold):
        return "unequal"
    near = close(answer, gold, tolerance)
    if near is None:
        near = same_numbers(answer, gold, tolerance)
    if near is None and _is_formula(answer) and _is_formula(gold):
        near = symbolically_equal(_formula(answer), _formula(gold), tolerance)
        return "too slow" if near is None else "equal" if near else "unequal"
    return "equal" if near else "unequal"


def says(text: str, gold: str) -> bool:
    """Whether `text` states a `gold` answer in words as it stands: "Apollo 11" is read as a name, not as 11."""
    if number(gold) is not None or not _WORD.search(gold) or _few_words(gold) is None or _MARKED.search(gold):
        return False
    markers = list(_STATED.finditer(text))
    said = text[markers[-1].end() :].strip() if markers else text.strip()
    return _folded(gold) in (_folded(_clause(said)), _folded(said.partition("\n")[0]))


# Finding an answer ----------------------------------------------------------------------------------------------------


def _spoken(text: str) -> str:
    """What is said aloud: after the last `</think>`, and before a `<think>` that is never closed."""
    return _THINK.split(_THOUGHT.split(text)[-1], maxsplit=1)[0]


def _boxes(text: str) -> tuple[list[str], bool]:
    r"""What is inside each outermost \boxed{...}, braces balanced, and whether one is never closed. One pass."""
    found, begin, depth = list[str](), -1, 0
    for brace in _BOX.finditer(text):
        opens = brace[0][-1] == "{" and brace[0] != "\\{"
        if begin < 0 and opens and brace[0] != "{":
            begin, depth = brace.end(), 1
        elif (begin >= 0 and brace[0] in "{}") or (begin >= 0 and opens):
            depth += 1 if opens else -1
            if depth == 0:
                found.append(text[begin : brace.start()].strip())
                begin = -1
    return [box for box in found if box], begin >= 0


def _agreed(boxes: list[str]) -> str | None:
    """The last of `boxes` where all of them say the same."""
    different = list(dict.fromkeys(reversed(boxes)))
    same = len(different) <= MAX_BOXES and all(equal(box, different[0]) for box in different[1:])
    return different[0] if same else None


def _stated(text: str) -> str | None:
    """What the last "answer is ..." or "#### ..." says: its number or formula, or a few words."""
    markers = list(_STATED.finditer(text))
    if not markers:
        return None
    after = text[markers[-1].end() :]
    return _said(_clause(after.lstrip("> ") if "\n" in markers[-1][0] else after))  # Markdown's quotation


def _stated_integer(text: str) -> str | None:
    """What is stated and has something after it, so that it cannot be the beginning of something else."""
    markers = list(_STATED.finditer(text))
    if not markers:
        return None
    after = text[markers[-1].end() :]
    clause = _clause(after)
    if _SENTENCE_GOES_ON.match(after[len(clause) :]):
        return _said(clause)
    mentions = list(_found(clause))
    if len(mentions) != 1 or not (rest := clause[mentions[0].end() :]):
        return None
    cut = _CUT_WORD.match(rest)
    begun = cut is not None and any(word.startswith(cut[1]) for word in _CHANGES_VALUE)
    return _said(clause) if re.match(r"\s+[A-Za-z]", rest) and not begun else None


def _clause(text: str) -> str:
    """What is said first in `text`: a displayed formula, or the words up to where the clause ends."""
    shown = _DISPLAY.match(text)
    return shown[0] if shown else _CLAUSE_END.split(text, maxsplit=1)[0]


def _said(clause: str) -> str | None:
    clause = clause.strip(" *`\"'").rstrip(".")
    if _OPTION.fullmatch(unwrapped(clause).strip()) and not clause[:1].isdigit():
        return clause
    if is_row(clause) or leading(clause)[0]:
        return clause
    clause = _right_side(clause).strip(" *`\"'").rstrip(".")
    mentions = list(dict.fromkeys(_mentions(clause)))
    if _RELATION.search(clause):
        return clause
    if number(clause) is None and mentions and _all_one(mentions):
        return clause if any(_is_changed(clause, found) for found in _found(clause)) else mentions[0]
    # Several ("3 or 4") are left complete: a choice of answers is none of them.
    return clause if mentions else _few_words(clause)


def _is_changed(text: str, found: re.Match[str]) -> bool:
    """Whether words beside a number change it: "5 and a half", "not 5"."""
    before = text[max(0, found.start() - 30) : found.start()]
    return bool(_NOT.search(before) or _GOES_ON.match(text, found.end()))


def _all_one(mentions: list[str]) -> bool:
    """Whether all are the same number, as in "0.5 (1/2)"."""
    return len(mentions) == 1 or all(close(each, mentions[0], TOLERANCE) for each in mentions[1:])


def _bare_formula(text: str) -> str | None:
    """`text` where it is one line without a word (LaTeX commands are none): of an equation, the right-hand side."""
    return None if "\n" in text or _WORD.search(text) else _right_side(text).strip() or None


def _last_mention(text: str) -> str | None:
    found = list(_found(text))[-2:]
    if len(found) > 1 and _are_one(text, *found):
        return text[found[0].start() : found[1].end()]
    if found and (related := _RELATED.search(text[: found[-1].start()])):
        return text[related.start() : found[-1].end()]
    if found and (related := _RELATED_ON.match(text, found[-1].end())):
        return text[found[-1].start() : related.end()]
    return _read(found[-1]) if found and not _is_changed(text, found[-1]) else None


def _are_one(text: str, one: re.Match[str], other: re.Match[str]) -> bool:
    """Whether two mentions say one thing that is neither: a choice, a range, a proportion, a quantity in two units."""
    before, between = text[: one.start()].rstrip(), text[one.end() : other.start()].strip()
    if between == "or":
        return close(_read(one), _read(other), TOLERANCE) is False
    in_words = _PROPORTION.match(between) or (between == "in" and _read(one) == "1")
    ranges = between == "and" and before.endswith("between")
    parts = _PARTS.match(f"{between} {text[other.end() :].lstrip()}")
    return bool(ranges or parts or (in_words and not before.endswith("from")))


def _mentions(text: str) -> Iterator[str]:
    """The numbers and the formulas of `text`; of an equation its right-hand side."""
    return map(_read, _found(text))


def _read(found: re.Match[str]) -> str:
    """What a mention says: of an equation its right-hand side, of "5 apples + 7" the sum."""
    formula = found["block"] or found["dollars"] or found["inline"] or found["display"]
    return _right_side(formula).strip() if formula else _COUNTED.sub("", found["run"]).strip()


def _found(text: str) -> Iterator[re.Match[str]]:
    """The mentions of `text`: formulas, and runs that hold a digit or a formula's command."""
    for found in _MENTION.finditer(text):
        if found["run"] is None or re.search(r"\d|\\(?:pi|infty|sqrt|[dtc]?frac)", found["run"]):
            yield found


def _right_side(formula: str) -> str:
    """What stands after the last equals sign; of several equations ("x = 1, y = 2") all of them."""
    return formula if "," in formula else _EQUALS.split(formula)[-1]


def _few_words(text: str) -> str | None:
    return text if 1 <= len(text.split()) <= 5 else None


# Comparing ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=65_536)
def _folded(text: str) -> str:
    """`text` without what does not change a word: case, white space, emphasis, quotes, a full stop, "it is"."""
    folded = " ".join(unwrapped(plain(text)).casefold().split()).strip(_ORNAMENT).rstrip(_ORNAMENT + ".")
    folded = _EXCLAMATION.sub("", folded)
    folded = _CLOCK.sub(r"\1 \2m", _ITS_SAYING.sub("", folded, count=1))
    letter = _LETTER_ALONE.fullmatch(folded)
    return letter[1] if letter else folded


def _same_option(answer: str, gold: str) -> Comparison | None:
    """Whether "C: 12" is C, or 12, as the gold answer has it; None where neither has a letter with its text."""
    ours, theirs = _option(answer), _option(gold)
    if ours is None and theirs is None:
        return None
    if ours and theirs:
        same = ours[0] == theirs[0] and (_begins(ours[1], theirs[1]) or compared(ours[1], theirs[1]) == "equal")
        return "equal" if same else "unequal"
    letter, text, other = (*ours, gold) if ours else (*(theirs or ("", "")), answer)
    if _LETTER_ALONE.fullmatch(_folded(other)):
        return "equal" if letter == _folded(other) else "unequal"
    return compared(text, gold) if ours else compared(answer, text)


def _begins(text: str, gold: str) -> bool:
    """Whether `text` is `gold` with more words behind it."""
    return f"{_folded(text)} ".startswith(f"{_folded(gold)} ") and not any(map(str.isdigit, text))


def _option(text: str) -> tuple[str, str] | None:
    """The letter and the text of `C: 12`, `(C) 12`, `\textbf{(C)}\\ 12`; `x: 12` and J. K. Rowling are none."""
    found = _OPTION.fullmatch(undressed(text))
    if found is None:
        return None
    alone = text.lstrip("\\ {")[:1] != "(" and ")" not in found[0][: found.start(2)]
    if alone and (not "A" <= found[1] <= "H" or _INITIAL.match(found[2])):
        return None
    return found[1].casefold(), found[2]


def _as_text(answer: str, gold: str) -> bool:
    """Whether the two are the same only where they are written the same: 3:30 PM is no ratio, 10-12 is not -2."""
    clocks = [_CLOCK.fullmatch(undressed(text)) for text in (answer, gold)]
    minutes = any(clock is not None and ":" in clock[1] for clock in clocks)
    return minutes or all(clocks) or _is_range(answer) or _is_range(gold)


def _is_range(text: str) -> bool:
    """Whether `text` counts up, as in "10-12 days"."""
    found = _RANGE.fullmatch(undressed(text))
    if found is None or _LOOKS_MATHEMATICAL.search(found[3]):
        return False
    low, high = number(found[1]), number(found[2])
    return low is not None and high is not None and low.value < high.value


def _is_formula(text: str) -> bool:
    # sympy reads a word as the product of its letters, so that "listen" would equal "silent".
    short = len(text) <= MAX_CHARS and len(_WORD.findall(text)) <= MAX_WORDS
    return short and _LOOKS_MATHEMATICAL.search(text) is not None


def _formula(text: str) -> str:
    """`text` as sympy is to read it."""
    return re.sub(r"\*\*(?=\d)", "^", plain(text)).replace("+/-", "\\pm ")
