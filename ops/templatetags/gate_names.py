"""`gate_name`: the name that a gate has today, for records from before it was renamed.

The history is append-only, so its rows keep the names of their time.
"""

from __future__ import annotations

from typing import Final

from django import template

RENAMED: Final = {"alert_path_alive": "way_back_proven", "unknown_rate": "would_refuse"}

register = template.Library()


@register.filter
def gate_name(recorded: str) -> str:
    """Return the name of today, with the recorded one if they differ."""
    today = RENAMED.get(recorded)
    return f"{today} (then {recorded})" if today else recorded
