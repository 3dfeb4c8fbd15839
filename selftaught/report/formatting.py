"""Formatting of numbers, names and model output in the report. Without HTML: Jinja does the escaping."""

from selftaught.core.characters import named
from selftaught.records import Split, set_name

SPLITS: dict[Split, str] = {
    "report": "report set",
    "gate": "gate set",
    "guard": "guard set",
    "train": "training set",
}
"""What each split is called, in the order in which the report shows them."""


def split_name(split: Split) -> str:
    """What a split is called; a named set goes by its name."""
    return SPLITS.get(split) or f"set {set_name(split)}"


def split_rank(split: Split) -> tuple[int, str]:
    """Where a split stands: as in `SPLITS`, and named sets after them by name."""
    return (list(SPLITS).index(split), "") if split in SPLITS else (len(SPLITS), split)


LONGEST_TEXT = 4000
"""Characters of one model answer that the page carries; longer ones say how much is left out."""

PERCENT = "\N{NO-BREAK SPACE}%"


def rate(value: float) -> str:
    """A rate with three decimals, as tables of accuracies have it.

    >>> rate(0.285), rate(1.0), rate(-0.0104), rate(96.4)
    ('.285', '1.000', '−.010', '96.4')
    """
    if abs(value) > 1:
        return f"{value:,.1f}".replace("-", "−")
    text = f"{abs(value):.3f}".removeprefix("0")
    return f"−{text}" if value < 0 and text != ".000" else text


def signed(value: float) -> str:
    """A difference of rates, with its sign.

    >>> signed(0.325), signed(-0.01), signed(0)
    ('+.325', '−.010', '±.000')
    """
    text = rate(value)
    return text if text.startswith("−") else f"±{text}" if text == ".000" else f"+{text}"


def count(value: float) -> str:
    """A count with thousands separators."""
    return f"{value:,.0f}"


def percent(part: float, total: float) -> str:
    """`part` of `total` in per cent; a dash when there is no total.

    >>> percent(3, 40), percent(1, 3000), percent(0, 0)
    ('7.5\xa0%', '<0.1\xa0%', '–')
    """
    if not total:
        return "–"
    value = 100 * part / total
    return f"<0.1{PERCENT}" if 0 < value < 0.05 else f"{value:.1f}{PERCENT}"


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> duration(0.84), duration(59.6), duration(432), duration(7500)
    ('0.8 s', '1 min 00 s', '7 min 12 s', '2 h 05 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def metric_name(metric: str) -> str:
    """A metric as people write it.

    >>> metric_name("pass_at_8"), metric_name("accuracy")
    ('pass@8', 'accuracy')
    """
    return metric.replace("_at_", "@").replace("_", " ")


def short(digest: str) -> str:
    """The first eight digits of a digest, as endpoint names have them."""
    return digest.removeprefix("sha256:")[:8]


def web(address: str) -> str:
    """`address`, where it is one that a browser may be led to; else nothing."""
    return address if address.startswith(("https://", "http://")) else ""


def size(n: int) -> str:
    """A number of bytes as a person says it.

    >>> size(310), size(41_234), size(2_500_000)
    ('310 bytes', '41 kB', '2.5 MB')
    """
    if n < 1000:
        return f"{n} bytes"
    return f"{n / 1000:.0f} kB" if n < 999_500 else f"{n / 1_000_000:.1f} MB"


def sentence(text: str) -> str:
    """`text` with a capital and a full stop; the rest is left alone."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")


def visible(text: str) -> str:
    """What a model wrote, safe to look at: cut at `LONGEST_TEXT`, invisible and direction-changing characters named.

    >>> visible("a\\u202eb\\x00")
    'a⟨U+202E⟩b⟨U+0000⟩'
    """
    shown = named(text[:LONGEST_TEXT].replace("\r\n", "\n"))
    return shown if len(text) <= LONGEST_TEXT else f"{shown} … ({count(len(text) - LONGEST_TEXT)} more characters)"
