"""The enums of the OpenAPI document: distinct names for code generators, and explanations.

A generator makes names of values. It would name both `series-c` and `series-c+` SERIES_C, and the
later one would win; it would name `-name` VALUE_1. `x-enum-varnames` gives the names instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from normalization.issue_codes import ISSUE_CODES
from normalization.problems import CATALOGUE
from normalization.stages import Stage

Schema = dict[str, Any]

STAGE_NAMES: Final[Mapping[str, str]] = {stage.value: stage.name for stage in Stage}

# Component → what it is, and what each value means.
EXPLAINED: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "StageEnum": ("The six stages, in order from the earliest.", {}),
    "StageStatusEnum": (
        "What a text means today.",
        {
            "known": "It means one of the six stages.",
            "outside": "It is decided to be none of the six stages.",
            "undecided": "It is not known. Mode enforce refuses it like one that is outside.",
        },
    ),
    "ModeEnum": (
        "How stages are checked.",
        {
            "off": "Texts without a stage are accepted.",
            "warn": "They are accepted, with `warnings` and `Deprecation` headers.",
            "enforce": "They are refused with 400.",
        },
    ),
    "ProblemTypeEnum": (
        "The kinds of problems.",
        {f"/problems/{slug}": f"{title}." for slug, (title, _) in CATALOGUE.items()},
    ),
    "IssueCodeEnum": (
        "The codes of `errors` and `warnings`.",
        {code.wire: code.meaning for code in ISSUE_CODES.values()},
    ),
    "PlaceEnum": (
        "A part of the request other than the body.",
        {"query": "A parameter of the address.", "header": "A header."},
    ),
}


def replace_null_enum(result: Schema, **_: Any) -> Schema:
    """Write null as the type of OpenAPI 3.1; return the document.

    The library adds a component that allows only null, which has no type in several languages.
    """
    if result["components"]["schemas"].pop("NullEnum", None) is not None:
        _replace(result, {"$ref": "#/components/schemas/NullEnum"}, {"type": "null"})
    return result


def _replace(part: Any, old: Schema, new: Schema) -> None:
    for name, nested in part.items() if isinstance(part, dict) else enumerate(part):
        if nested == old:
            part[name] = dict(new)
        elif isinstance(nested, dict | list):
            _replace(nested, old, new)


def declare_open_operations(result: Schema, **_: Any) -> Schema:
    """Say of operations without a key that they need none; return the document.

    The library leaves `security` out, which linters read as forgotten.
    """
    for path in result["paths"].values():
        for operation in path.values():
            operation.setdefault("security", [])
    return result


def explain_enums(result: Schema, **_: Any) -> Schema:
    """Describe the enums of this package, name the values of every enum; return the document."""
    components = result["components"]["schemas"]
    for name, (text, values) in EXPLAINED.items():
        if name in components:
            components[name]["description"] = explanation(text, values)
    for enum in _enums(result):
        enum["x-enum-varnames"] = [_variable_name(value) for value in enum["enum"]]
    return result


def explanation(text: str, values: Mapping[str, str]) -> str:
    """Return the description of an enum as Markdown."""
    return "\n".join([text, *(f"* `{value}`: {meaning}" for value, meaning in values.items())])


def _enums(part: Any) -> Iterator[Schema]:
    if isinstance(part, dict):
        if isinstance(part.get("enum"), list):
            yield part
        for nested in part.values():
            yield from _enums(nested)
    elif isinstance(part, list):
        for nested in part:
            yield from _enums(nested)


def _variable_name(value: str) -> str:
    if value in STAGE_NAMES:
        return STAGE_NAMES[value]
    descending = "_DESCENDING" if value.startswith("-") else ""
    words = value.removeprefix("/problems/").strip("-")
    return re.sub(r"\W", "_", words).upper() + descending
