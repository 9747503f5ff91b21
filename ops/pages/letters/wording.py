"""The sentences of a letter, and the letter as plain text and as CSV.

The page and the text have the same sentences. The CSV names every spelling once, escaped as the
files of decisions are, so that a spreadsheet runs no cell.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from normalization.boundary import DRY_RUN, REHEARSAL
from normalization.decision_file import escape
from ops.pages.console import public_address
from ops.pages.letters.content import DAYS, DEPRECATED_NAMED, Letter, LetterSpelling, Refusal

COLUMNS: Final = (
    "spelling",
    "send_instead",
    "must_change",
    "note",
    f"times_in_{DAYS}_days",
    "first_seen",
    "last_seen",
    "endpoints",
)


def subject(letter: Letter) -> str:
    """Return the heading: what to change, and by when."""
    count = len(letter.changes)
    if not count:
        return f"{letter.client}: no stage name has to change"
    names = "1 stage name" if count == 1 else f"{count} stage names"
    if letter.refusal is Refusal.ANNOUNCED and letter.rollout.enforce_at is not None:
        return f"{letter.client}: change {names} by {day(letter.rollout.enforce_at)}"
    now = " now" if letter.refusal is Refusal.NOW else ""
    return f"{letter.client}: change {names}{now}"


def opening(letter: Letter) -> list[str]:
    """Return the first sentences: when requests are refused, and how many that are."""
    return [_when(letter), *_how_many(letter), *_dates(letter)]


def outdated(letter: Letter) -> str:
    """Return the sentence about spellings that stay accepted, "" without any."""
    count = len(letter.deprecated)
    if not count:
        return ""
    first = letter.deprecated[:DEPRECATED_NAMED]
    names = ", ".join(f"“{each.raw}” (send {each.send_instead})" for each in first)
    of_all = "1 outdated spelling stays" if count == 1 else f"{count} outdated spellings stay"
    return (
        f"{of_all} accepted, such as {names}."
        if count > len(first)
        else (f"{of_all} accepted: {names}.")
    )


def rehearsal(letter: Letter) -> str:
    """Return a request to try, as a command: the first place that sends a spelling to change."""
    places = letter.places or [path for path in letter.paths.values() if path]
    method, _, path = places[0].partition(" ")
    if not path.startswith("/"):
        method, path = "POST", "/api/portfolio/strategies"
    lines = [
        f"curl -i -X {method} '{public_address(path)}'",
        "-H 'Authorization: Api-Key YOUR_KEY'",
    ]
    if method == "GET":
        lines.append(f"-H 'Prefer: {REHEARSAL}'")
    else:
        lines.append(f"-H 'Prefer: {REHEARSAL}, {DRY_RUN}'")
        lines.append("-H 'Content-Type: application/json'")
        lines.append("-d @your-request.json")
    return " \\\n  ".join(lines)


REHEARSAL_SENTENCES: Final = (
    "Add one header to a request. The answer is the one that enforcement gives.",
    f"With {DRY_RUN} beside it a POST or PATCH is only checked: nothing is stored or counted.",
    "A refused request is answered 400. It names each stage by its JSON pointer, with what it "
    "probably means.",
)


def text_of(letter: Letter) -> str:
    """Return the letter as plain text."""
    return "\n".join(_lines(letter)) + "\n"


def csv_of(letter: Letter) -> str:
    """Return the spellings as CSV, those to change first."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in letter.spellings:
        cells = (
            each.raw,
            each.send_instead,
            "yes" if each.must_change else "no",
            each.note,
            str(each.times),
            _utc(each.first_seen),
            _utc(each.last_seen),
            " ".join(each.endpoints),
        )
        writer.writerow([escape(cell) for cell in cells])
    return text.getvalue()


def day(at: datetime) -> str:
    """Return the day of a moment in UTC, as 3 December 2026."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%B %Y}"


def _when(letter: Letter) -> str:
    what = "requests that name an unknown investment stage"
    if letter.refusal is Refusal.NOW:
        return f"Our API refuses {what}: they are answered 400, and nothing is stored."
    accepted = "Today they are accepted, with a warning."
    if letter.rollout.mode.value == "off":
        accepted = "Today they are accepted."
    if letter.refusal is Refusal.HELD_OUT:
        return f"Our API refuses {what}, but not yet those of {letter.client}. {accepted}"
    enforce_at = letter.rollout.enforce_at
    if letter.refusal is Refusal.ANNOUNCED and enforce_at is not None:
        at = enforce_at.astimezone(UTC)
        return f"From {at:%A}, {day(at)}, {at:%H:%M} UTC, our API refuses {what}. {accepted}"
    return f"Our API is going to refuse {what}. The date is not announced yet. {accepted}"


def _how_many(letter: Letter) -> Iterator[str]:
    if letter.sent is None:
        return
    found = letter.sent.counts
    if not found.requests:
        yield f"{letter.client} sent no stage in the last {DAYS} days."
        return
    share = f"{found.refusable:,} of its {found.requests:,} requests ({found.percent:.2f} %)"
    yield f"In the last {DAYS} days {letter.client} named such a stage in {share}."


def _dates(letter: Letter) -> Iterator[str]:
    if letter.since is not None:
        yield f"The first of these spellings came on {day(letter.since)}."
    if letter.sunset is not None and letter.refusal is Refusal.ANNOUNCED:
        yield "The header Sunset of our answers has the same date."


def _lines(letter: Letter) -> Iterator[str]:
    yield subject(letter)
    yield ""
    yield " ".join(opening(letter))
    if letter.changes:
        yield ""
        yield "What to change"
        yield from (f"- {_line(each)}" for each in letter.changes)
        yield f"Sent by: {', '.join(letter.places)}"
    if letter.more:
        yield f"{letter.more:,} more spellings are not listed."
    if sentence := outdated(letter):
        yield ""
        yield sentence
    yield ""
    yield f"The six stages: {', '.join(letter.stages)}"
    yield ""
    yield "Try a request"
    yield " ".join(REHEARSAL_SENTENCES)
    yield ""
    yield rehearsal(letter)


def _line(each: LetterSpelling) -> str:
    times = "once" if each.times == 1 else f"{each.times:,} times"
    note = f" ({each.note.rstrip('.')})" if each.note else ""
    return f"“{each.raw}”, sent {times}: send {each.send_instead}{note}"


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
