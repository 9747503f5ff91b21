"""A program in any language can fold spellings with the steps that `/api/stages` describes."""

import csv
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalization import folding
from normalization.stages import fold

VOCABULARY = Path(__file__).parents[1] / "data" / "stage_vocabulary.csv"
HOSTILE = [
    "",
    "-",
    "--",
    "_seed",
    "seed -",
    " \u200bSeed\ufeff ",
    "series\u1d43",
    "series \u216d\u00a8",
    "\uff33eries\u3000C\uff0b",
    "Series\r\nA",
    "\u0345\u03b1 seed",
    "\u1e9e seed",
    "se\u00aded",
    "series\u2212c\u2212",
    "\U0001d412\U0001d41e\U0001d41e\U0001d41d",
]
PARTS = ["series", " ", "-", "\u2013", "A", "\u017f", "\u1d43", "\u216d", "\u200b", "+", "\u0301"]
any_text = st.text(max_size=30) | st.lists(st.sampled_from(PARTS)).map("".join)


class FoldedByTheDescription:
    """Carries the described steps out, and imports nothing of the product's own folding."""

    def __init__(self, rule: dict[str, Any]) -> None:
        self.steps = rule["steps"]

    def __call__(self, text: str) -> str:
        forms: set[Any] = set()
        for step in self.steps:
            match step["do"]:
                case "trim":
                    text = text.strip("".join(step["characters"]))
                case "replace":
                    table = step["characters"]
                    text = "".join(table.get(char, char) for char in text)
                case "normalize":
                    # The form is settled by the text before the first of these steps.
                    if not forms:
                        other = not set(text).isdisjoint(step["unless_any_of"])
                        forms.add(step["instead"] if other else step["form"])
                    [form] = forms
                    text = unicodedata.normalize(form, text)
                case "casefold":
                    text = text.casefold()
                case "join_words":
                    text = joined(text, step)
                case unknown:
                    raise AssertionError(unknown)
        return text


def joined(text: str, step: dict[str, Any]) -> str:
    for separator in step["separators"]:
        text = text.replace(separator, " ")
    words = [word for word in text.split(" ") if word]
    if not words:
        return str(step["at_an_end"]) if text else ""
    first = step["at_an_end"] if text[0] == " " else ""
    last = step["at_an_end"] if text[-1] == " " else ""
    return f"{first}{step['with'].join(words)}{last}"


described = FoldedByTheDescription(folding.describe())


@pytest.mark.parametrize("text", HOSTILE)
def test_the_described_steps_fold_hostile_texts_as_the_product_does(text: str) -> None:
    assert described(text) == fold(text)


def test_the_described_steps_fold_every_public_spelling_as_the_product_does() -> None:
    with VOCABULARY.open(encoding="utf-8", newline="") as file:
        spellings = [row["raw"] for row in csv.DictReader(file)]
    assert len(spellings) > 1_000
    assert [described(each) for each in spellings] == [fold(each) for each in spellings]


@given(any_text)
def test_the_described_steps_fold_any_text_as_the_product_does(text: str) -> None:
    assert described(text) == fold(text)
