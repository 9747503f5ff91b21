"""The system checks of the platform: every table and every list of choices covers the stages."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.db import models
from django.test.utils import isolate_apps

from normalization.models import ObservedSpelling, StageDecision
from normalization.stages import Stage
from stagenorm.portfolio import checks
from stagenorm.portfolio.market_profiles import by_stage
from stagenorm.portfolio.market_v2 import MARKET_PROFILES, MARKET_V2
from stagenorm.portfolio.return_profiles import MARKET_V1, PROFILES

CHOICES = [(stage.value, stage.value) for stage in Stage]
LAST = list(Stage)[-1]
ALL_BUT_TWO = [stage for stage in Stage if stage not in (Stage.SEED, Stage.SERIES_A)]


def test_the_product_passes_its_own_checks() -> None:
    ids = {checks.INCOMPLETE_PROFILE, checks.INCOMPLETE_CHOICES}
    assert not [message for message in run_checks() if message.id in ids]


def test_every_profile_has_tables_by_stage() -> None:
    profiles = {**PROFILES, **MARKET_PROFILES}
    assert {name for name, _, _ in checks.stage_tables(profiles)} == set(profiles)


def test_choices_of_stages_are_found_in_the_models() -> None:
    found = {(field.model, field.name) for field, _ in checks.stage_choices(apps.get_models())}
    assert {(StageDecision, "stage"), (ObservedSpelling, "stage")} <= found


@pytest.mark.parametrize(
    ("stages", "fault"),
    [
        ([Stage.SEED, Stage.SERIES_A], f"lacks {', '.join(ALL_BUT_TWO)}"),
        ([*list(Stage)[:-1]], f"lacks {LAST}"),
        ([*Stage, "series-z"], "also has series-z"),
    ],
)
def test_a_profile_that_does_not_cover_the_stages_is_an_error(
    monkeypatch: pytest.MonkeyPatch, stages: list[Any], fault: str
) -> None:
    odds = dict.fromkeys(stages, next(iter(MARKET_V1.odds.values())))
    profile = replace(MARKET_V1, name="cut-v1", odds=MappingProxyType(odds))
    monkeypatch.setattr(checks, "PROFILES", {**PROFILES, "cut-v1": profile})
    [error] = checks.check_return_profiles()
    assert error.id == "portfolio.E001"
    assert error.msg == f"The return profile cut-v1 has a table odds that {fault}."


def test_a_market_profile_without_a_value_for_the_last_stage_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odds = replace(MARKET_V2.odds, fail=by_stage(*[0.5] * LAST.position))
    cut = replace(MARKET_V2, odds=odds)
    monkeypatch.setattr(checks, "MARKET_PROFILES", {"market-cut": cut})
    [error] = checks.check_return_profiles()
    fault = f"The return profile market-cut has a table odds.fail that lacks {LAST}."
    assert error.msg == fault


def test_more_values_than_stages_are_refused() -> None:
    with pytest.raises(ValueError, match=f"{len(Stage) + 1} values for {len(Stage)} stages"):
        by_stage(*range(len(Stage) + 1))


@pytest.mark.parametrize(
    ("choices", "fault"),
    [
        (CHOICES, None),
        ([("", "unknown"), *CHOICES], None),
        (
            [("by letter", CHOICES[2:]), ("early", CHOICES[:2])],
            "is not in the order of the stages",
        ),
        (CHOICES[:-1], f"lacks {LAST}"),
        ([*CHOICES, ("series-z", "D")], "also has series-z"),
        ([("low", "low"), ("high", "high")], None),
    ],
)
def test_choices_that_are_not_the_stages_are_an_error(
    monkeypatch: pytest.MonkeyPatch, choices: list[Any], fault: str | None
) -> None:
    with isolate_apps("stagenorm.portfolio") as isolated:

        class Round(models.Model):
            stage = models.CharField(max_length=20, choices=choices, blank=True)

            class Meta:
                app_label = "portfolio"

            def __str__(self) -> str:
                return self.stage

        monkeypatch.setattr(checks, "apps", isolated)
        errors = checks.check_choices()
    assert [(error.id, error.msg, error.obj) for error in errors] == (
        []
        if fault is None
        else [
            (
                "portfolio.E002",
                f"The choices of portfolio.Round.stage are stages, but the list {fault}.",
                Round,
            )
        ]
    )
