"""`console_frame`: the links of the console and the mode, on the pages of the admin itself.

The console's own pages pass the frame to their template (`console_context`).
"""

from __future__ import annotations

from typing import Any

from django import template
from django.db import Error as StoreError
from django.template import Context

from normalization import rollout_store
from ops.pages.console import frame

register = template.Library()


@register.inclusion_tag("admin/ops/frame.html", takes_context=True)
def console_frame(context: Context) -> dict[str, Any]:
    """Return what the frame shows; nothing if the database does not answer."""
    path = context["request"].path
    try:
        return frame(rollout_store.newest(), path)
    except StoreError:
        return {}
