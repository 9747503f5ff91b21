"""The frame of the console's pages: the links at the head, and the mode in force.

Each page passes the result of `console_context` to its template, which extends
`admin/ops/console.html`. The figures come from small tables, so the frame costs no page its speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest
from django.urls import get_script_prefix, reverse

from normalization import conf, rollout_store
from normalization.rollout import Mode, Rollout
from ops.pages.rollout.changes import percent_text
from ops.pages.spellings.models import SpellingCount

SPELLINGS: Final = "ops-spellings"
LINKS: Final = (
    ("Home", "admin:index"),
    ("Spellings", SPELLINGS),
    ("Rollout", "ops-rollout"),
    ("Stored rows", "admin:ops_backfillrun_changelist"),
    ("Clients", "ops-clients"),
    ("Backups", "admin:ops_backup_changelist"),
)
MODE_WORDS: Final = {Mode.OFF: "Observe", Mode.WARN: "Warn", Mode.ENFORCE: "Enforce"}


@dataclass(frozen=True, slots=True)
class ConsoleLink:
    """A link at the head of a page. `count` is what needs a decision there, None without one."""

    word: str
    url: str
    is_current: bool
    count: int | None = None


def console_context(
    request: HttpRequest,
    title: str,
    current: str = SPELLINGS,
    rollout: Rollout | None = None,
) -> dict[str, Any]:
    """Return what the frame shows. `current` is the name of the link to mark.

    `rollout`: the one that the page has read; without it, the one that this process serves.
    """
    rollout = rollout or rollout_store.current().rollout
    return {
        **admin.site.each_context(request),
        "title": title,
        "console_links": [
            ConsoleLink(
                word, reverse(name), name == current, undecided() if name == SPELLINGS else None
            )
            for word, name in LINKS
        ],
        "console_mode": rollout.mode.value,
        "console_mode_word": mode_in_words(rollout),
    }


def public_address(path: str) -> str:
    """Return the address of a page as others reach it: STAGE_PUBLIC_URL and the path."""
    return f"{conf.public_url()}/{path.removeprefix(get_script_prefix())}"


def undecided() -> int | None:
    """Return how many spellings are undecided as of the last count, None before the first."""
    shares = SpellingCount.objects.values_list("shares", flat=True).first()
    return None if shares is None else int(shares.get("", (0, 0))[0])


def mode_in_words(rollout: Rollout) -> str:
    """Return the mode as the console names it, with the share where it is enforced."""
    word = MODE_WORDS[rollout.mode]
    if rollout.mode is Mode.ENFORCE:
        return f"{word} {percent_text(rollout.enforce_percent)} %"
    return word
