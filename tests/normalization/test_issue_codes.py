"""Every code of `errors` and `warnings` is in one list, from which the schema takes its enum."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rest_framework import serializers

from normalization.issue_codes import ISSUE_CODES, IssueCode, code_of, issue
from normalization.problems import PROBLEM_TYPES
from normalization.serializers import ItemSerializer, ProblemSerializer, StrictSerializer
from normalization.stages_views import SpellingsSerializer
from stagenorm.portfolio.funds import FundQuerySerializer
from stagenorm.portfolio.simulation_request_serializers import SimulationSerializer
from stagenorm.portfolio.strategies_page import StrategyQuerySerializer
from stagenorm.portfolio.strategies_serializers import StrategyPatchSerializer, StrategySerializer

ROOT = Path(__file__).parents[2]
REQUESTS: list[type[StrictSerializer]] = [
    SpellingsSerializer,
    FundQuerySerializer,
    StrategyQuerySerializer,
    StrategySerializer,
    StrategyPatchSerializer,
    SimulationSerializer,
]
# Codes of shapes that a strict field refuses before its base class does.
NEVER = {"date", "datetime", "make_aware"}


def fields_of(field: Any) -> Iterator[Any]:
    yield field
    nested = list(getattr(field, "fields", {}).values())
    for each in (*nested, getattr(field, "child", None)):
        if isinstance(each, serializers.Field):
            yield from fields_of(each)


@pytest.mark.parametrize("request_serializer", REQUESTS)
def test_every_error_that_a_field_can_raise_has_its_code_in_the_list(
    request_serializer: type[StrictSerializer],
) -> None:
    raised = set()
    for field in fields_of(request_serializer()):
        raised |= set(field.error_messages)
        raised |= {getattr(validator, "code", None) for validator in field.validators}
    assert raised - {None} - NEVER <= set(ISSUE_CODES)


def test_items_are_made_in_one_place_only() -> None:
    """No other function of the product writes an item with a code."""
    writers = []
    for package in ("normalization", "stagenorm", "ops"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Dict):
                    keys = {getattr(key, "value", None) for key in node.keys if key}
                    if {"pointer", "code"} <= keys:
                        writers.append(path.relative_to(ROOT).as_posix())
    assert writers == ["normalization/issue_codes.py"]


def test_the_schema_has_the_list_and_an_unknown_error_becomes_invalid() -> None:
    codes, types = ItemSerializer().fields["code"], ProblemSerializer().fields["type"]
    assert isinstance(codes, serializers.ChoiceField)
    assert list(codes.choices) == list(ISSUE_CODES)
    assert isinstance(types, serializers.ChoiceField)
    assert list(types.choices) == PROBLEM_TYPES
    assert code_of("made_up") is IssueCode.INVALID
    assert code_of(None) is IssueCode.INVALID
    assert issue("/a", IssueCode.REQUIRED, place="query", detail="x") == {
        "pointer": "/a",
        "in": "query",
        "code": "required",
        "detail": "x",
    }
