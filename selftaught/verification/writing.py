r"""Normalisation of Unicode and LaTeX notation, before answers are read or compared.

`10⁵` is `10^5`, `2½` is `2 1/2`, `×` is `\times`, every dash before a number is a minus, full-width digits are digits.
What means something of its own (a word, a unit, a letter) is left as it is, but for compatibility forms (NFKC).
"""
# ruff: noqa: RUF001, RUF002 (what is easily mistaken for something else is what this module is about)

import re
import unicodedata

_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ"
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉₊₋"
_RAISED = re.compile(rf"[{_SUPERSCRIPTS}]+")
_LOWERED = re.compile(rf"[{_SUBSCRIPTS}]+")
_VULGAR = re.compile(r"(?:(\d)\s*)?([¼-¾⅐-⅞↉])")
_ROOT = re.compile(r"([√∛])\s*(\d+(?:\.\d+)?|[A-Za-z]|\([^()\n]*\)|\{[^{}\n]*\})")
_LONG_DASH = re.compile(r"(?<=\w)[—―](?=\w)|[—―](?=[^\d.$€£¥₹]|$)")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_FOREIGN_DIGIT = re.compile(r"[^\x00-\x7f]")

_SAME = str.maketrans(
    {
        **dict.fromkeys("‐‑‒–—―−﹘﹣－", "-"),
        **dict.fromkeys("‘’ʼ‛`´", "'"),
        **dict.fromkeys("“”„‟", '"'),
        **dict.fromkeys("\u0085\u2028\u2029", "\n"),
        "\u2044": "/",
        "∕": "/",
        "÷": "/",
        "∗": "*",
        "×": r"\times ",
        "✕": r"\times ",
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "±": r"\pm ",
        "π": r"\pi ",
        "∞": r"\infty ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∅": r"\emptyset ",
    }
)


def plain(text: str) -> str:
    r"""`text` with one writing for each sign, digit, space and fraction.

    >>> plain("–5 × 10⁵ or 2½"), plain("√3 ＝ １.７３")
    ('-5 \\times  10^5 or 2 1/2', '\\sqrt{3} = 1.73')
    """
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", text)
    text = _RAISED.sub(lambda found: _script("^", found[0]), text)
    text = _LOWERED.sub(lambda found: _script("_", found[0]), text)
    text = _VULGAR.sub(_fraction, text)
    text = _ROOT.sub(_root, _LONG_DASH.sub(" - ", text))
    return _FOREIGN_DIGIT.sub(_digit, unicodedata.normalize("NFKC", text.translate(_SAME)).translate(_SAME))


def _script(mark: str, raised: str) -> str:
    inside = unicodedata.normalize("NFKC", raised).replace("\N{MINUS SIGN}", "-")
    return mark + (inside if len(inside) == 1 else f"{{{inside}}}")


def _fraction(found: re.Match[str]) -> str:
    over, _, under = unicodedata.normalize("NFKC", found[2]).partition("\u2044")
    return f"{found[1]} {over}/{under}" if found[1] else f"{over}/{under}"


def _root(found: re.Match[str]) -> str:
    return (r"\sqrt" if found[1] == "√" else r"\sqrt[3]") + f"{{{found[2].strip('{}')}}}"


def _digit(found: re.Match[str]) -> str:
    value = unicodedata.decimal(found[0], None)
    return found[0] if value is None else str(value)
