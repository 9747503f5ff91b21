"""What determines a simulation, of either generation of profiles: parameters, JSON and hash."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, ClassVar, Final

from normalization.stages import Stage
from stagenorm.portfolio.outcomes import rescaled

# The arrays with a number per run, and the quarterly flows of `market-v1`, are kept whole up to
# here: 25 MB over 15 years.
MAX_RUNS: Final = 50_000


@dataclass(frozen=True, slots=True)
class RunParameters:
    """The parameters that both engines share. Weights of `stage_mix` are taken relative.

    `engine` names the random stream and the arithmetic of the subclass, `profiles` are those that
    it simulates.
    """

    engine: ClassVar[str]
    profiles: ClassVar[Mapping[str, object]]

    runs: int
    horizon_years: int
    portfolio_size: int
    seed: int
    profile: str
    stage_mix: Mapping[Stage, float]

    def check(self) -> None:
        """Raise ValueError for what cannot be simulated."""
        if not 1 <= self.runs <= MAX_RUNS:
            raise ValueError(f"runs must be 1 to {MAX_RUNS}")
        if self.horizon_years < 1 or self.portfolio_size < 1:
            raise ValueError("horizon_years and portfolio_size must be at least 1")
        if self.seed < 0:
            raise ValueError("seed must be at least 0")
        if self.profile not in self.profiles:
            raise ValueError(f"profile must be one of {', '.join(self.profiles)}")
        rescaled(self.stage_mix)


def mix_as_json(parameters: RunParameters) -> dict[str, float]:
    """Return the rescaled mix by the name of the stage.

    The weights are not rounded, so that a client can repeat the simulation and its hash.
    """
    return {stage.value: weight for stage, weight in rescaled(parameters.stage_mix).items()}


def determining(parameters: RunParameters) -> dict[str, Any]:
    """Return everything that determines the numbers, as JSON: equal parameters, equal numbers."""
    values = {field.name: getattr(parameters, field.name) for field in fields(parameters)}
    plain = {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in values.items()
    }
    return {**plain, "engine": parameters.engine, "stage_mix": mix_as_json(parameters)}


def parameters_hash(parameters: RunParameters) -> str:
    """Return the SHA-256 (hex) of all that determines the result, as canonical JSON."""
    text = json.dumps(determining(parameters), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
