"""Duplicate detection: when two problems are the same, at any number of texts.

A text is compared by its words, in one Unicode form and without case, with its numbers masked: in full, and by its runs
of 13 words (GPT-3, Brown et al. 2020, appendix C). Where nothing stands between words, a character is a word. What many
texts share says nothing of any of them and is no mark: the words that all of them begin or end with, and boilerplate in
more than one in a hundred. Many texts that differ in nothing but their numbers are made from a template, and only those
of them with equal numbers are the same.

Marks are 64-bit numbers in arrays, some 400 bytes for a text of 60 words; two different runs of a million such texts
share one with a chance of 1e-4. It does not find paraphrases (`contamination.alike` warns of close ones), and does not
know what a set is.
"""

import re
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import takewhile
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from selftaught.core.canonical import canonical

NGRAM = 13
"""Words in a run that two different problems do not share."""

SHARE = 0.01
"""What more than this part of all texts have in common is no mark …"""

DIFFERENT, NUMBERED = 8, 25
"""… and, where there are few, what at least so many texts of different words, or of any numbers, have in common."""

Words = tuple[str, ...]
Numbers = NDArray[np.uint64]
Indices = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]
Marks = tuple[Hashable, ...]

# Words ----------------------------------------------------------------------------------------------------------------

_MARKS = ".,;:!?\"'"
"""Punctuation, which makes no word of its own, wherever the spaces are."""
_EDGES = f"{_MARKS}()[]"
_EMPHASIS = "*_`$"
"""What Markdown and LaTeX put around words."""
_SAME = str.maketrans(
    dict.fromkeys("\u2018\u2019\u02bc\u2032", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
    | {"\u00d7": "*", "\u00f7": "/", "\u2044": "/"}
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", None)
    | dict.fromkeys("\u3001\u3002\u3008\u3009\u300a\u300b\u300c\u300d\u300e\u300f\u3010\u3011\u30fb", " ")
)
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese, which put no spaces between words."""
_TOKEN = re.compile(f"[{_UNSPACED}]|[^\\s{_UNSPACED}]+")
_STOPS = re.compile(f"(?<=[{_UNSPACED}])[.,;:!?\"']+|[.,;:!?\"']+(?=[{_UNSPACED}])")
_FRACTION = re.compile("(?<=\\d)(?=[\u00bc-\u00be\u2150-\u215e])")
_POWER, _INDEX = re.compile("[\u00b2\u00b3\u00b9\u2070-\u207e]+"), re.compile("[\u2080-\u208e]+")
_POINT = re.compile(r"(?<!\w)\.(?=\d)")
_NUMBER = re.compile(r"(?:\d[\d,.]*\d|\d)!*")
_BETWEEN = re.compile(r"(?<=[\w)])[+/=<>](?=[\w(.])|(?<=[\d)])[*^-](?=[\d(.])|(?<=[^\W\d])[,;](?=[^\W\d])")
"""Operators and commas that have no spaces around them: 3+4 is 3 + 4."""


def words(text: str) -> list[str]:
    """The words of `text`: one Unicode form, no case, no punctuation but what changes a value (.5, 7!, brackets)."""
    return [bare for bare, *_ in _read(text)]


def same_text(text: str) -> str:
    """What two texts have in common that differ in nothing but form."""
    return " ".join(words(text))


def text_number(text: str) -> int:
    """64 bits that two texts have in common that differ in nothing but form."""
    return _number(same_text(text))


def _normal(text: str) -> str:
    """`text` in one form: 2½ is two words and 10² no number of three digits, which NFKC alone would make of them."""
    if text.isascii():
        return text.casefold()
    apart = _INDEX.sub(r"_\g<0>", _POWER.sub(r"^\g<0>", _FRACTION.sub(" ", text)))
    folded = unicodedata.normalize("NFKC", apart).casefold()
    return _STOPS.sub(" ", unicodedata.normalize("NFKC", folded).translate(_SAME))


def masked(text: str) -> list[str]:
    """The words of `text` with a # for each number."""
    return [each for _, each, _, _ in _read(text)]


_Word = tuple[str, str, int, str]
"""A word, as it is with its numbers masked, the number that stands for the latter, and the numbers in it."""


def _read(text: str) -> list[_Word]:
    made = map(_word, _TOKEN.findall(_BETWEEN.sub(r" \g<0> ", _normal(text))))
    return [word for word in made if word[0]]


@lru_cache(maxsize=1 << 16)
def _word(token: str) -> _Word:
    bare = _bare(token)
    mask = _NUMBER.sub("#", bare)
    return bare, mask, _number(mask), " ".join(_NUMBER.findall(bare))


def _bare(token: str) -> str:
    token = token.strip(_EMPHASIS) or token
    core = token.strip(_EDGES)
    if not core:
        return token if token.strip(_MARKS) else ""
    if len(core) > 1 and not any(map(str.isdigit, core)):
        return core
    return _POINT.sub("0.", token.rstrip(".,;:?\"'").lstrip(",;:!?\"'"))


def _number(word: str) -> int:
    """64 bits that follow from `word` on every machine."""
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


# What says nothing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Common:
    """What so many texts share that it says nothing: their first and last words, and marks."""

    before: Words = ()
    after: Words = ()
    marks: frozenset[int] = frozenset()

    def own(self, text: "Sequence[_Word]") -> "Sequence[_Word]":
        """`text` without the first and last words that all texts have."""
        start = len(self.before) if tuple(word[1] for word in text[: len(self.before)]) == self.before else 0
        stop = len(text) - len(self.after)
        return text[start:stop] if tuple(word[1] for word in text[max(0, stop) :]) == self.after else text[start:]


def _frame(texts: Iterable[str]) -> Common:
    """The words that all `texts` begin and end with; none where there are not three different ones to tell by."""
    several, seen = iter(map(masked, texts)), set[Words]()
    before = after = tuple(next(several, ()))
    least = len(before)
    seen.add(before)
    for text in several:
        before, after = _shared(before, text), _shared(after[::-1], text[::-1])[::-1]
        least = min(least, len(text))
        if len(seen) < 3:
            seen.add(tuple(text))
        if not before and not after:
            return Common()
    after = after[max(0, len(before) + len(after) - least) :]
    return Common(before, after) if len(seen) == 3 else Common()


def _shared(one: Words, other: Sequence[str]) -> Words:
    """The first words that both have."""
    return one[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))]


# Marks ----------------------------------------------------------------------------------------------------------------


class Asked(Protocol):
    """What is compared of a problem: its text, and how it was made where it was made from a template."""

    @property
    def question(self) -> str: ...
    @property
    def template(self) -> str | None: ...
    @property
    def operands(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Compared:
    """By problem the marks that it shares with others, and what was left out because too many share it."""

    marks: Sequence[Marks]
    common: Common


def compared(asked: Sequence[Asked], common: Common | None = None) -> Compared:
    """The marks of the problems `asked`: two that share one are the same problem.

    Those from templates are alike on purpose: they have (template, operands), in any order, for a mark, and their words
    are compared with those of plain ones alone. What is `common` is found among the plain ones unless it is given, by
    whoever has seen more of them.
    """
    found = _texts([each.question for each in asked], np.array([each.template is None for each in asked], bool), common)
    own = (() if each.template is None else (made_from(each.template, each.operands),) for each in asked)
    return Compared([(*mine, *shared) for mine, shared in zip(own, found.marks, strict=True)], found.common)


def made_from(template: str, operands: Sequence[str]) -> str:
    """The mark of a problem from a template: 3 + 4 and 4 + 3 are one problem."""
    return canonical([template, sorted(operands)]).decode()


def _texts(texts: Sequence[str], is_plain: Flags, common: Common | None) -> Compared:
    known = common or _frame(text for text, plain in zip(texts, is_plain, strict=True) if plain)
    hashed = _hashed(texts, known, NGRAM)
    everyone, count = np.arange(len(texts)), len(texts)
    most = [count, count] if common else _most(hashed, is_plain)
    sifted = [
        _sifted(hashed.exact, everyone, everyone, hashed, is_plain, [count, count]),
        _sifted(hashed.entire, everyone, hashed.exact, hashed, is_plain, most),
        _sifted(hashed.runs, hashed.owners, hashed.exact, hashed, is_plain, most),
    ]
    frequent = known.marks.union(*(each.frequent for each in sifted))
    return Compared(_by_text(sifted, count, known.marks), Common(known.before, known.after, frequent))


def _most(hashed: "_Hashed", is_plain: Flags) -> list[float]:
    """How many plain texts of any numbers, and of different words, may share a mark."""
    numbered, different = (len(np.unique(each[is_plain])) for each in (hashed.exact, hashed.entire))
    return [max(NUMBERED, SHARE * numbered), max(DIFFERENT, SHARE * different)]


BATCH, LARGE = 1024, 1 << 18
"""How many texts are hashed, and marks sorted, at a time: what bounds the memory beside the marks themselves."""

_BASE = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class _Hashed:
    """By text a number for its masked words, and one for these and its numbers; the runs, and whose each is."""

    entire: Numbers
    exact: Numbers
    runs: Numbers
    owners: Indices


def _hashed(texts: Sequence[str], common: Common, n: int) -> _Hashed:
    entire, numbers, runs, counts = array("Q"), array("Q"), array("Q"), array("i")  # which grow in place
    for first in range(0, len(texts), BATCH):
        batch = list(map(_read, texts[first : first + BATCH]))
        numbers.extend(_number(" ".join(sorted(word[3] for word in text if word[3]))) for text in batch)
        own = [common.own(text) for text in batch]
        size = np.fromiter(map(len, own), np.int64, len(own))
        hashes = np.fromiter((word[2] for text in own for word in text), np.uint64, int(size.sum()))
        powers = _powers(max(n, int(size.max())))
        entire.frombytes(_of_all(hashes, size, powers).tobytes())
        runs.frombytes(_runs(hashes, size, powers[:n]).tobytes())
        counts.extend(np.maximum(size - (n - 1), 0).tolist())
    owners = np.repeat(np.arange(len(texts), dtype=np.int32), np.array(counts, np.int32))
    return _Hashed(_numbers(entire), _numbers(entire) ^ _numbers(numbers), _numbers(runs), owners)


def _numbers(made: "array[int]") -> Numbers:
    return np.frombuffer(made, np.uint64) if made else np.zeros(0, np.uint64)


def _powers(count: int) -> Numbers:
    """1, b, b² …, modulo 2^64."""
    return np.cumprod(np.full(count, _BASE, np.uint64)) * np.uint64(pow(_BASE, -1, 1 << 64))


def _of_all(hashes: Numbers, size: Indices, powers: Numbers) -> Numbers:
    """A number for each text of `size` words: their polynomial in b."""
    offsets = np.arange(len(hashes)) - np.repeat(np.cumsum(size) - size, size)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes * powers[offsets])])
    ends = np.cumsum(size)
    return sums[ends] - sums[ends - size] + size.astype(np.uint64)


def _runs(hashes: Numbers, size: Indices, powers: Numbers) -> Numbers:
    """A number for each run of as many words as there are `powers`, text by text."""
    n = len(powers)
    if len(hashes) < n:
        return np.zeros(0, np.uint64)
    every = np.zeros(len(hashes) - n + 1, np.uint64)
    for i, power in enumerate(powers):
        every += hashes[i : i + len(every)] * power
    owner = np.repeat(np.arange(len(size), dtype=np.int32), size)
    return every[owner[: len(every)] == owner[n - 1 :]]


@dataclass(frozen=True, slots=True)
class _Sifted:
    """The marks that several texts share, with the texts that have them, and those that too many have."""

    values: Numbers
    owners: Indices
    frequent: Sequence[int]


def _sifted(
    values: Numbers, owners: Indices, each: NDArray[Any], hashed: _Hashed, is_plain: Flags, most: Sequence[float]
) -> _Sifted:
    """What at least two texts share, one of them plain, and no more than `most` plain ones.

    `each` tells texts apart: one that stands there twice has its full text as a mark, and need not have every run.
    """
    if len(values) < LARGE:
        parts = [np.arange(len(values))]
    else:
        top = values.view(np.uint8)[7::8]
        parts = (np.flatnonzero(top == part) for part in range(256))
    sifted = [_part(values[part], owners[part], each, hashed, is_plain, most) for part in parts]
    return _Sifted(
        np.concatenate([part.values for part in sifted]),
        np.concatenate([part.owners for part in sifted]),
        [mark for part in sifted for mark in part.frequent],
    )


def _part(
    values: Numbers, owners: Indices, each: NDArray[Any], hashed: _Hashed, is_plain: Flags, most: Sequence[float]
) -> _Sifted:
    if not len(values):
        return _Sifted(values, owners, ())
    order = np.lexsort((owners, hashed.exact[owners], hashed.entire[owners], values))
    value, owner = values[order], owners[order]
    begins, plain = _changes(value), is_plain[owner]
    texts = (owner, each[owner], hashed.exact[owner], hashed.entire[owner])
    another, apart, exact, words = (begins | _changes(of) for of in texts)
    starts = np.flatnonzero(begins)
    have, plain_ones, numbered, different = (
        np.add.reduceat(of, starts, dtype=int) for of in (apart, another & plain, exact & plain, words & plain)
    )
    shared = (have > 1) & (plain_ones > 0)
    frequent = shared & ((numbered > most[0]) | (different > most[1]))
    kept = np.repeat(shared & ~frequent, np.diff([*starts, len(value)])) & another
    return _Sifted(value[kept], owner[kept], value[starts[frequent]].tolist())


def _changes(values: NDArray[Any]) -> Flags:
    """Where another value begins."""
    return np.concatenate([np.ones(1, bool), values[1:] != values[:-1]])


def _by_text(sifted: Sequence[_Sifted], texts: int, common: frozenset[int]) -> Sequence[Marks]:
    """By text its marks but for the `common` ones."""
    marks: dict[int, list[int]] = defaultdict(list)
    one: dict[int, int] = {}  # the same number for all texts that share it
    for each in sifted:
        for first in range(0, len(each.values), LARGE):
            part = slice(first, first + LARGE)
            for value, owner in zip(each.values[part].tolist(), each.owners[part].tolist(), strict=True):
                if value not in common:
                    marks[owner].append(one.setdefault(value, value))
    return [tuple(marks.get(text, ())) for text in range(texts)]


# Alike ----------------------------------------------------------------------------------------------------------------

FEW = 5
"""Words in the runs by which two texts are alike."""


def alike_words(ones: Sequence[str], others: Sequence[str], least: float) -> list[tuple[int, int]]:
    """The pairs (i, j) in which a text of `ones` and one of `others` have at least that part of their runs in common.

    Runs are of five words, those of both texts counted together (Jaccard); runs of many texts count for none.
    """
    values, owners = _rare([*ones, *others])
    sizes = np.bincount(owners, minlength=len(ones) + len(others))
    first = owners < len(ones)
    where, who = values[first], owners[first]  # sorted by run, so that who has one is a slice
    asked = values[~first][np.argsort(owners[~first], kind="stable")]
    pairs: list[tuple[int, int]] = []
    for j, own in enumerate(np.split(asked, np.cumsum(sizes[len(ones) :])[:-1])):
        slices = zip(np.searchsorted(where, own), np.searchsorted(where, own, "right"), strict=True)
        found, both = np.unique(np.concatenate([who[:0], *(who[a:b] for a, b in slices)]), return_counts=True)
        close = both >= least * (sizes[found] + len(own) - both)
        pairs += [(i, j) for i in found[close].tolist()]
    return pairs


def _rare(texts: Sequence[str]) -> tuple[Numbers, Indices]:
    """The runs of five words of each text that not too many texts have, once a text and sorted, and whose they are."""
    hashed = _hashed(texts, Common(), FEW)
    order = np.lexsort((hashed.owners, hashed.runs))
    values, owners = hashed.runs[order], hashed.owners[order]
    if not len(values):
        return values, owners
    begins = _changes(values)
    once = begins | _changes(owners)
    values, owners, begins = values[once], owners[once], begins[once]
    count = np.diff([*np.flatnonzero(begins), len(values)])
    rare = np.repeat(count <= max(DIFFERENT, SHARE * len(texts)), count)
    return values[rare], owners[rare]
