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
from stagenorm.portfolio.return_profiles import MARKET_V1, PROFILES

SIX = [(stage.value, stage.value) for stage in Stage]


def test_the_product_passes_its_own_checks() -> None:
    ids = {checks.INCOMPLETE_PROFILE, checks.INCOMPLETE_CHOICES}
    assert not [message for message in run_checks() if message.id in ids]


def test_every_profile_has_tables_by_stage() -> None:
    assert {name for name, _, _ in checks.stage_tables(PROFILES)} == set(PROFILES)


def test_choices_of_stages_are_found_in_the_models() -> None:
    found = {(field.model, field.name) for field, _ in checks.stage_choices(apps.get_models())}
    assert {(StageDecision, "stage"), (ObservedSpelling, "stage")} <= found


@pytest.mark.parametrize(
    ("stages", "fault"),
    [
        ([Stage.SEED, Stage.SERIES_A], "lacks pre-seed, series-b, series-c, series-c+"),
        ([*list(Stage)[:-1]], "lacks series-c+"),
        ([*Stage, "series-d"], "also has series-d"),
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


@pytest.mark.parametrize(
    ("choices", "fault"),
    [
        (SIX, None),
        ([("", "unknown"), *SIX], None),
        ([("by letter", SIX[2:]), ("early", SIX[:2])], "is not in the order of the stages"),
        (SIX[:5], "lacks series-c+"),
        ([*SIX, ("series-d", "D")], "also has series-d"),
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
