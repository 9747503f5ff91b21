"""The closed table of spellings: which words name which stage. Data only; `stages` reads it.

Every spelling here is in folded form (see `stages.fold`): lower case, one space between words. A
spelling is either a stage's name, or a stage's name followed by one of the words that say "this is
a funding round". Nothing else is a known spelling. In particular there are no prefixes ("pre",
"late", "extended" change the meaning) and no bare letters, numbers, "+" after A or B, or foreign
names; `tests/data/labelled_stages.csv` says why, row by row.
"""

from itertools import product

NAMES: dict[str, tuple[str, ...]] = {
    "pre-seed": ("pre seed", "preseed"),
    "seed": ("seed",),
    "series-a": ("series a", "seriesa"),
    "series-b": ("series b", "seriesb"),
    # "seriesc" is not here: written without a space the name often lost its "+" too, and C is not
    # C+.
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
"""Unknown spellings whose meaning is likely enough to be shown, best first, but not sure enough to
be applied.
"""


def folded_spellings() -> dict[str, str]:
    """Every built-in spelling in folded form → the value of its stage."""
    return {
        f"{name} {suffix}".rstrip(): stage
        for stage, names in NAMES.items()
        for name, suffix in product(names, SUFFIXES)
    }


def common_spellings() -> dict[str, str]:
    """The ways in which the built-in spellings are usually typed → the value of their stage.

    Every separator (space, hyphen, underscore), one within the name and one after it, the usual
    capitals of either part, and names with a line break at the end. This adds no spelling that
    folding would not accept; it lets a usual one be found without folding.
    """
    typed: dict[str, str] = {}
    for stage, names in NAMES.items():
        for name, inner, (ending, loud) in product(names, " -_", _endings()):
            for start in _name_capitals(name):
                typed[start.replace(" ", inner) + ending] = stage
            typed[name.upper().replace(" ", inner) + loud] = stage
    return typed


def _endings() -> list[tuple[str, str]]:
    """What may follow a name, with the form of it that goes with a name in capitals."""
    endings = ["", "\n"]
    for suffix, outer in product(filter(None, SUFFIXES), " -_"):
        endings += [
            f"{outer}{form.replace(' ', outer)}"
            for form in (suffix, suffix.title(), suffix.capitalize())
        ]
    return [(ending, ending.upper()) for ending in endings]


def _name_capitals(name: str) -> tuple[str, ...]:
    """`pre seed` → pre seed, Pre Seed, Pre seed, pre Seed; `seriesa` → also seriesA and
    SeriesA.
    """
    if name.startswith("series"):
        return (name, name.capitalize(), f"series{name[6:].upper()}", f"Series{name[6:].upper()}")
    return (name, name.title(), name.capitalize(), name[:4] + name[4:].title())
