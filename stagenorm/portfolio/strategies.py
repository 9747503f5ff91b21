"""Strategies, the investment plans of funds: creating, changing and representing them.

Views check stages at the boundary first and call the functions that write in a transaction. This
module does not use HTTP.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db.models import QuerySet

from normalization.stages import Known, Meaning, Stage, Weights
from stagenorm.portfolio.models import Fund, PortfolioStrategy, StrategyStageAllocation

CHECK_SIZES: Final = ("min", "target", "max")
PLAIN_MEMBERS: Final = (
    "name",
    "description",
    "model_type",
    "target_portfolio_size",
    "max_portfolio_size",
    "deployment_months",
    "sector_allocation",
    "reserve_ratio",
    "risk_tolerance",
    "target_irr",
    "target_multiple",
    "tags",
)
_STAGES: Final = frozenset(stage.value for stage in Stage)
_CENT: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Allocation:
    """The weight of one stage, its first spelling, and the stage (None if unknown)."""

    spelling: str
    stage: Stage | None
    weight: float


def allocations_of(results: Sequence[Meaning], weights: Weights) -> list[Allocation]:
    """Return what to store, in the order of the request.

    `weights` are those of the built-in spellings. The built-in spellings of a stage are one
    allocation, with the first of them. Every other spelling is an allocation of its own, because
    its meaning changes with the decisions: its weight must not disappear in another's.
    """
    own = {found.raw: weight for found, weight in weights.unknown}
    first: dict[object, Allocation] = {}
    for result in results:
        stage = result.stage if isinstance(result, Known) else None
        if result.raw in own:
            first[result.raw] = Allocation(str(result.raw), stage, own[result.raw])
        elif stage and stage not in first:
            first[stage] = Allocation(str(result.raw), stage, weights.by_stage[stage])
    return list(first.values())


def create(
    fund: Fund, client: str, members: Mapping[str, Any], allocations: Iterable[Allocation]
) -> PortfolioStrategy:
    """Store and return a new strategy of the fund with its allocations."""
    strategy = PortfolioStrategy(fund=fund, client=client)
    _assign(strategy, members)
    strategy.save()
    _store(strategy, allocations)
    return strategy


def change(
    strategy: PortfolioStrategy,
    members: Mapping[str, Any],
    allocations: Iterable[Allocation] | None,
) -> PortfolioStrategy:
    """Change the given members of a locked strategy; given allocations replace the stored ones."""
    _assign(strategy, members)
    strategy.save()
    if allocations is not None:
        strategy.stage_allocations.all().delete()
        _store(strategy, allocations)
    return strategy


def locked(strategies: QuerySet[PortfolioStrategy], strategy_id: int) -> PortfolioStrategy | None:
    """Return the strategy, locked with its allocations until the transaction ends.

    Returns None if it is not among `strategies`. The allocations are locked in the order of their
    ids, as the backfill does, so the two cannot deadlock.
    """
    strategy = strategies.select_for_update(of=("self",)).filter(pk=strategy_id).first()
    if strategy is not None:
        list(strategy.stage_allocations.select_for_update().order_by("id").values_list("id"))
    return strategy


def stored_texts_of(strategy: PortfolioStrategy) -> frozenset[str]:
    """Return the texts that the client sent for stages and those that the API showed for them."""
    rows = strategy.stage_allocations.values_list("spelling", "stage")
    return frozenset(text for row in rows for text in row if text is not None)


def check_size_of(strategy: PortfolioStrategy) -> dict[str, float | None]:
    """Return the check sizes in dollars by `min`, `target` and `max`."""
    sizes = {name: getattr(strategy, f"check_size_{name}") for name in CHECK_SIZES}
    return {name: None if size is None else float(size) for name, size in sizes.items()}


def representation(strategy: PortfolioStrategy) -> dict[str, Any]:
    """Return the strategy as the API shows it.

    The names in `stage_allocation` are canonical stages, or the client's text of an unknown one;
    sent back in a PATCH they mean the same. `stages` lists the stored rows. If two rows have one
    stage, `stage_allocation` has their sum.
    """
    rows = [(each, _stage_of(each)) for each in strategy.stage_allocations.all()]
    by_stage: dict[str, float] = {}
    for row, stage in rows:
        name = stage or row.spelling
        by_stage[name] = by_stage.get(name, 0.0) + row.weight
    return {
        "id": strategy.pk,
        "fund_id": strategy.fund_id,
        **{name: getattr(strategy, name) for name in PLAIN_MEMBERS},
        "check_size": check_size_of(strategy),
        "stage_allocation": by_stage,
        "stages": [
            {"spelling": row.spelling, "stage": stage, "weight": row.weight} for row, stage in rows
        ],
        "created_at": _utc(strategy.created_at),
        "updated_at": _utc(strategy.updated_at),
    }


def _stage_of(row: StrategyStageAllocation) -> str | None:
    # A row of an earlier release has its text in `stage` until a backfill has reached it.
    return row.stage if row.stage in _STAGES else None


def _utc(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _assign(strategy: PortfolioStrategy, members: Mapping[str, Any]) -> None:
    for name in PLAIN_MEMBERS:
        if name in members:
            setattr(strategy, name, members[name])
    if "check_size" in members:
        sizes = members["check_size"]
        for name in CHECK_SIZES:
            if sizes is None or name in sizes:
                setattr(strategy, f"check_size_{name}", _cents(sizes and sizes[name]))


def _cents(size: float | None) -> Decimal | None:
    # repr is the shortest text of this float: 0.1 is ten cents, not 0.1000000000000000055.
    return None if size is None else Decimal(repr(size)).quantize(_CENT)


def _store(strategy: PortfolioStrategy, allocations: Iterable[Allocation]) -> None:
    StrategyStageAllocation.objects.bulk_create(
        StrategyStageAllocation(
            strategy=strategy,
            spelling=allocation.spelling,
            stage=None if allocation.stage is None else allocation.stage.value,
            weight=allocation.weight,
            position=position,
        )
        for position, allocation in enumerate(allocations)
    )
