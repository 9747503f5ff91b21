"""System checks: tables and choices that must cover exactly the six stages.

A stage added to `normalization.stages.Stage` needs numbers in every return profile and a place in
every list of choices. These checks name each one that was forgotten, before a request finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from django.apps import apps
from django.core import checks
from django.db.models import Field, Model

from normalization.stages import Stage
from stagenorm.portfolio.market_v2 import MARKET_PROFILES
from stagenorm.portfolio.return_profiles import PROFILES

INCOMPLETE_PROFILE: Final = "portfolio.E001"
INCOMPLETE_CHOICES: Final = "portfolio.E002"

_STAGES: Final = [stage.value for stage in Stage]


def check_return_profiles(**_: Any) -> list[checks.CheckMessage]:
    """Return an error for each table of a return profile that does not cover the stages."""
    return [
        checks.Error(
            f"The return profile {name} has a table {table} that {_difference(stages)}.",
            "Add the stage to the table, under a new profile name if the profile is published.",
            id=INCOMPLETE_PROFILE,
        )
        for name, table, stages in stage_tables({**PROFILES, **MARKET_PROFILES})
        if set(stages) != set(_STAGES)
    ]


def check_choices(**_: Any) -> list[checks.CheckMessage]:
    """Return an error for each model field whose choices are not all stages in their order."""
    return [
        checks.Error(
            f"The choices of {field} are stages, but the list {_difference(stages)}.",
            "Build the choices from normalization.stages.Stage, and make a migration.",
            obj=field.model,
            id=INCOMPLETE_CHOICES,
        )
        for field, stages in stage_choices(apps.get_models())
        if stages != _STAGES
    ]


def stage_tables(profiles: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (profile, table, keys) for each mapping by stage in profiles that are dataclasses."""
    for name, profile in profiles.items():
        for field in fields(profile):
            value = getattr(profile, field.name)
            if isinstance(value, Mapping) and any(isinstance(key, Stage) for key in value):
                yield name, field.name, [str(key) for key in value]
            elif is_dataclass(value):
                nested = stage_tables({name: value})
                yield from ((name, f"{field.name}.{table}", keys) for _, table, keys in nested)


def stage_choices(
    models: Iterable[type[Model]],
) -> Iterator[tuple[Field[Any, Any], list[str]]]:
    """Yield (field, choices without the blank) for each field with a stage among its choices."""
    for model in models:
        for field in model._meta.get_fields():
            flat = getattr(field, "flatchoices", None) or []
            values = [str(value) for value, _ in flat if value]
            if isinstance(field, Field) and set(values) & set(_STAGES):
                yield field, values


def _difference(stages: list[str]) -> str:
    missing = [stage for stage in _STAGES if stage not in stages]
    surplus = [stage for stage in stages if stage not in _STAGES]
    if missing:
        return f"lacks {', '.join(missing)}"
    if surplus:
        return f"also has {', '.join(surplus)}"
    return "is not in the order of the stages"


def register() -> None:
    """Register the checks; called when the app is ready."""
    checks.register(check_return_profiles)
    checks.register(check_choices)
