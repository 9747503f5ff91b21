"""Strategies: how a fund means to invest. Made, changed and shown here; stages have been through the boundary.

Nothing here knows HTTP. Every function that writes is called inside a transaction.
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
    """The weight of one stage: as it was spelled first, and the stage it means (None when unknown)."""

    spelling: str
    stage: Stage | None
    weight: float


def allocations_of(results: Sequence[Meaning], weights: Weights) -> list[Allocation]:
    """Return one allocation for each stage, in the order of the request.

    Each spelling that is unknown or outside is an allocation of its own.
    """
    without_stage: dict[object, float] = {
        **{found.raw: weight for found, weight in weights.unknown},
        **{found.raw: weight for found, weight in weights.outside},
    }
    first: dict[str, Allocation] = {}
    for result in results:
        if not isinstance(result, Known):
            spelling = str(result.raw)
            first[f"unknown {spelling}"] = Allocation(spelling, None, without_stage[result.raw])
        elif result.stage.value not in first:
            first[result.stage.value] = Allocation(
                result.raw, result.stage, weights.by_stage[result.stage]
            )
    return list(first.values())


def create(
    fund: Fund, client: str, members: Mapping[str, Any], allocations: Iterable[Allocation]
) -> PortfolioStrategy:
    """Store a new strategy of the fund with its allocations."""
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
    """Change the given members of a locked strategy; allocations, when given, replace the stored ones."""
    _assign(strategy, members)
    strategy.save()
    if allocations is not None:
        strategy.stage_allocations.all().delete()
        _store(strategy, allocations)
    return strategy


def locked(strategies: QuerySet[PortfolioStrategy], strategy_id: int) -> PortfolioStrategy | None:
    """The strategy and its allocations, locked until the transaction ends; None if it is not among `strategies`.

    The allocations are locked in the order of their ids, as the backfill does, so the two cannot deadlock.
    """
    strategy = strategies.select_for_update(of=("self",)).filter(pk=strategy_id).first()
    if strategy is not None:
        list(strategy.stage_allocations.select_for_update().order_by("id").values_list("id"))
    return strategy


def stored_texts_of(strategy: PortfolioStrategy) -> frozenset[str]:
    """What its client wrote for stages, and what the API showed for them: neither is new to the strategy."""
    return frozenset(
        text for row in strategy.stage_allocations.values_list("spelling", "stage") for text in row
    )


def check_size_of(strategy: PortfolioStrategy) -> dict[str, float | None]:
    """The strategy's check sizes in dollars by `min`, `target` and `max`."""
    sizes = {name: getattr(strategy, f"check_size_{name}") for name in CHECK_SIZES}
    return {name: None if size is None else float(size) for name, size in sizes.items()}


def representation(strategy: PortfolioStrategy) -> dict[str, Any]:
    """The strategy as the API shows it.

    `stage_allocation` has canonical stages for names, and the client's words where the stage is unknown: sent back in
    a PATCH it means the same. `stages` lists the rows as stored. A backfill may have made an unknown stage one that
    another row has already; in `stage_allocation` the two are added up.
    """
    rows = list(strategy.stage_allocations.all())
    by_stage: dict[str, float] = {}
    for row in rows:
        by_stage[row.stage] = by_stage.get(row.stage, 0.0) + row.weight
    return {
        "id": strategy.pk,
        "fund_id": strategy.fund_id,
        **{name: getattr(strategy, name) for name in PLAIN_MEMBERS},
        "check_size": check_size_of(strategy),
        "stage_allocation": by_stage,
        "stages": [
            {
                "spelling": row.spelling,
                "stage": row.stage if row.stage in _STAGES else None,
                "weight": row.weight,
            }
            for row in rows
        ],
        "created_at": _utc(strategy.created_at),
        "updated_at": _utc(strategy.updated_at),
    }


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
    # repr is the shortest text that means this float, so 0.1 is ten cents and not 0.1000000000000000055.
    return None if size is None else Decimal(repr(size)).quantize(_CENT)


def _store(strategy: PortfolioStrategy, allocations: Iterable[Allocation]) -> None:
    StrategyStageAllocation.objects.bulk_create(
        StrategyStageAllocation(
            strategy=strategy,
            spelling=allocation.spelling,
            stage=allocation.spelling if allocation.stage is None else allocation.stage.value,
            weight=allocation.weight,
            position=position,
        )
        for position, allocation in enumerate(allocations)
    )
