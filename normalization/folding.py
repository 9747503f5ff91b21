"""The folding rule as data, so that a client in any language can look spellings up by itself.

`describe` returns what `stages.fold` does, as steps that a program can carry out in order. The
character sets are those of `stages`; a test runs the steps and compares them with `fold`.
"""

import sys
import unicodedata
from typing import Any

from normalization import stages

IN_WORDS = (
    "Trim white space and invisible characters at both ends. Remove invisible characters inside, "
    "and turn every dash into a hyphen. Normalize to NFKC (to NFC if the text has a raised letter "
    "or a Roman numeral character), casefold, and normalize again. Turn each run of hyphens, "
    "underscores and white space into one space. A run at the start or the end of the text is "
    "kept as one hyphen. Every other character counts, so + does."
)
"""The rule for people; `describe` has it for programs."""


def describe() -> dict[str, Any]:
    """Return the rule in words and as ordered steps, for JSON.

    Character sets are lists of one-character strings. `normalize` uses `form`, or `instead` if
    the text before the first `normalize` step has one of `unless_any_of`.
    """
    replaced = {chr(code): text for code, text in stages.PLAIN.items()}
    normalize = {
        "do": "normalize",
        "form": "NFKC",
        "instead": "NFC",
        "unless_any_of": _not_letters(),
    }
    replace = {"do": "replace", "characters": replaced}
    return {
        "in_words": IN_WORDS,
        "unicode_version": unicodedata.unidata_version,
        "longest": stages.LONGEST,
        "steps": [
            {"do": "trim", "characters": list(stages.ENDS)},
            replace,
            normalize,
            {"do": "casefold"},
            normalize,
            replace,
            {
                "do": "join_words",
                "separators": ["-", "_", *stages.WHITE_SPACE],
                "with": " ",
                "at_an_end": "-",
            },
        ],
    }


def _not_letters() -> list[str]:
    everything = map(chr, range(sys.maxunicode + 1))
    return [char for char in everything if stages.NOT_LETTERS.match(char)]
