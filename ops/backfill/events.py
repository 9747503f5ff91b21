"""What a run tells while it works: `pass`, `batch`, `waiting`, `retry`, `narrowing`, `aliases`, `resumed`."""

from typing import Any, Protocol


class Tell(Protocol):
    """Where a run's events go: `tell("batch", table=..., ...)`."""

    def __call__(self, event: str, /, **fields: Any) -> None: ...
