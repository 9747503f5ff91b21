"""The closed table of spellings: which words name which stage. Data only; `stages` reads it.

Every spelling here is in folded form (see `stages.fold`): lower case, one space between words. A spelling is
either a stage's name, or a stage's name followed by one of the words that say "this is a funding round".
Nothing else is a known spelling. In particular there are no prefixes ("pre", "late", "extended" change the meaning)
and no bare letters, numbers, "+" after A or B, or foreign names; `tests/data/labelled_stages.csv` says why, row by row.
"""

from itertools import product

NAMES: dict[str, tuple[str, ...]] = {
    "pre-seed": ("pre seed", "preseed"),
    "seed": ("seed",),
    "series-a": ("series a", "seriesa"),
    "series-b": ("series b", "seriesb"),
    # "seriesc" is not here: written without a space the name often lost its "+" too, and C is not C+.
    "series-c": ("series c",),
    "series-c+": ("series c+", "seriesc+"),
}
"""Stage → its names, the first being the canonical one, folded."""

SUFFIXES: tuple[str, ...] = (
    "",
    "round",
    "funding",
    "financing",
    "stage",
    "funding round",
    "financing round",
)
"""What may follow a name without changing the stage that is meant."""

PROBABLE: dict[str, tuple[str, ...]] = {
    "seriesc": ("series-c", "series-c+"),
    "series seed": ("seed",),
    "series pre seed": ("pre-seed",),
    "seed fund": ("seed",),
    "seed investment": ("seed",),
    "a series": ("series-a",),
    "b series": ("series-b",),
    "c series": ("series-c",),
    "round a": ("series-a",),
    "round b": ("series-b",),
    "round c": ("series-c",),
}
"""Unknown spellings whose meaning is likely enough to be shown, best first, but not sure enough to be applied."""


def folded_spellings() -> dict[str, str]:
    """Every built-in spelling in folded form → the value of its stage."""
    return {
        f"{name} {suffix}".rstrip(): stage
        for stage, names in NAMES.items()
        for name, suffix in product(names, SUFFIXES)
    }


def common_spellings() -> dict[str, str]:
    """The ways in which the built-in spellings are usually typed → the value of their stage.

    Every separator (space, hyphen, underscore) between every two words, in the usual kinds of capitals. This adds
    no spelling that folding would not accept; it lets a usual one be found without folding.
    """
    typed: dict[str, str] = {}
    for spelling, stage in folded_spellings().items():
        words = spelling.split(" ")
        for separators in product(" -_", repeat=len(words) - 1):
            text = words[0] + "".join(separator + word for separator, word in zip(separators, words[1:], strict=True))
            for form in (text, text.upper(), text.title(), text.capitalize(), _letter_capital(text)):
                typed[form] = stage
    return typed


def _letter_capital(text: str) -> str:
    """`series a round` → `series A round`: only the series letter is a capital."""
    return text[:7] + text[7:8].upper() + text[8:] if text.startswith("series") else text
