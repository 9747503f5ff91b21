"""Reports this process to the register of serving processes, on the ticker's thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from normalization import conf, instance_registry, metrics, rollout_store
from normalization.guard import Guard, guard

REPORT_SECONDS: Final = 2.0
SWEEP_SECONDS: Final = 10.0


class InstanceReporter:
    """Keeps the row of this process. The ticker calls `report`, at an orderly end `leave`."""

    def __init__(
        self, guarding: Guard = guard, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._guard, self._clock = guarding, clock
        self._due = self._sweep_due = float("-inf")
        self._reported = -1

    def report(self) -> None:
        """Write the row when it is due, and at once with a new version.

        Raises `django.db.Error`.
        """
        now, known = self._clock(), rollout_store.store.known()
        if known is None or (now < self._due and known.version == self._reported):
            return
        self._due, self._reported = now + REPORT_SECONDS, known.version
        skew = instance_registry.measured_skew()
        metrics.CLOCK_SKEW.set(abs(skew))
        row = {
            "version": known.version,
            "mode": known.value.mode.value,
            "age": min(known.age, self._guard.seconds_since_confirmed()),
            "guard": conf.guard().mode,
            "guard_age": self._guard.seconds_since_tick(),
            "skew": skew,
            "store": conf.shared_store(),
        }
        instance_registry.write(row)
        if now >= self._sweep_due:
            self._sweep_due = now + SWEEP_SECONDS
            gone = [each.name for each in instance_registry.rows() if each.gone]
            instance_registry.remove(gone)

    def leave(self) -> None:
        """Delete the row: the process ends."""
        instance_registry.remove([instance_registry.identity()["name"]])


reporter: Final = InstanceReporter()
