"""Whether an incident is safe now, and what to do next.

Both are judged by the rollout in force, the servers' own reports and today's decisions, so the
advice changes once a step is taken. The first action is the suggested one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from django.urls import reverse

from normalization import conf
from normalization.instances import Convergence
from normalization.rollout import Mode, Rollout
from ops.gates.rules import COOLDOWN
from ops.pages.clients.enforcement import enforcement_of
from ops.pages.incidents.counts import RefusedRequests, RefusedSpelling
from ops.pages.incidents.record import Incident, IncidentScope, still_holds
from ops.pages.letters.links import letter_url
from ops.pages.rollout.changes import first_names, proposal_links
from ops.pages.spellings.links import InboxAddress

NAMES_LISTED: Final = 3


@dataclass(frozen=True, slots=True)
class Safety:
    """Whether clients are still refused for what happened. `tone`: good, warn or bad."""

    tone: str
    icon: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class NextAction:
    """One thing to do: what, why, and the page where it is done."""

    title: str
    note: str
    word: str
    url: str


def safety(
    found: Incident,
    rollout: Rollout,
    servers: Convergence,
    refused: RefusedRequests | None,
    spellings: Sequence[RefusedSpelling] | None,
) -> Safety:
    """Return whether it is safe now. `rollout` is the one in force."""
    if servers.behind and rollout == found.after:
        behind = first_names((each.name for each in servers.behind), NAMES_LISTED)
        text = f"{servers.why.capitalize()}: {behind}. They may still refuse requests."
        return Safety("bad", "no", "Not safe yet: a server has not followed", text)
    if still_holds(found, rollout):
        return _safe(found, rollout, servers)
    return _enforced_again(found, rollout, refused, spellings)


def next_actions(
    found: Incident,
    rollout: Rollout,
    servers: Convergence,
    refused: RefusedRequests | None,
    spellings: Sequence[RefusedSpelling] | None,
) -> list[NextAction]:
    """Return what to do, the suggested action first."""
    return [
        *_follow(found, rollout, servers),
        *_prove_way_back(found),
        *_decide(spellings or ()),
        *_tell(refused, spellings or ()),
        *_step(found, rollout),
    ]


def _safe(found: Incident, rollout: Rollout, servers: Convergence) -> Safety:
    stored = "A refused request stored nothing."
    agree = _agreement(servers)
    if rollout.mode is not Mode.ENFORCE:
        text = f"{agree}{stored}"
        return Safety("good", "enforce", "Safe now: nothing is being refused", text)
    if found.scope is IncidentScope.ENDPOINT:
        title = f"Safe now: {found.endpoint} refuses nothing"
        others = "The other endpoints are enforced as before."
    else:
        title = f"Safe now: {', '.join(found.clients)} is only warned"
        others = "The other clients are enforced as before."
    return Safety("good", "enforce", title, f"{others} {agree}{stored}")


def _agreement(servers: Convergence) -> str:
    processes = len(servers.instances)
    if not servers.converged or not processes:
        return ""
    if processes == 1:
        return "The one server process serves the rollout in force. "
    return f"All {processes} server processes serve the rollout in force. "


def _enforced_again(
    found: Incident,
    rollout: Rollout,
    refused: RefusedRequests | None,
    spellings: Sequence[RefusedSpelling] | None,
) -> Safety:
    again = found.again
    since = f"since version {again.pk}, by {again.actor}" if again else "now"
    names = refused.names if refused else list(found.clients)
    endpoints = conf.stage_endpoints()
    inside = [name for name in names if enforcement_of(rollout, name, endpoints).now]
    open_words = [each for each in spellings or () if each.status != "known"]
    if spellings is not None and not open_words:
        text = "Every spelling of that time means a stage now, so none of them is refused."
        return Safety("good", "enforce", f"Safe now, although enforced again {since}", text)
    if refused is not None and not inside:
        text = "None of the clients that were hurt is enforced."
        return Safety("good", "enforce", f"Safe now, although enforced again {since}", text)
    hurt = first_names(inside, NAMES_LISTED) or "The clients that were hurt"
    means = "still means" if len(open_words) == 1 else "still mean"
    words = f"{_count(len(open_words), 'spelling')} {means} no stage"
    text = f"{hurt} can be refused again: {words}."
    return Safety("warn", "alert", f"Look at this: enforced again {since}", text)


def _follow(found: Incident, rollout: Rollout, servers: Convergence) -> Iterator[NextAction]:
    if servers.behind and rollout == found.after:
        url = f"{reverse('ops-rollout')}#instances"
        yield NextAction("Look at the servers that are behind", servers.why, "See servers", url)


def _prove_way_back(found: Incident) -> Iterator[NextAction]:
    if found.way_back_was_dead:
        yield NextAction(
            "Repair the way back",
            "Neither the alert nor the guard could have acted.",
            "Open heartbeats",
            reverse("admin:ops_heartbeat_changelist"),
        )


def _decide(spellings: Sequence[RefusedSpelling]) -> Iterator[NextAction]:
    undecided = [each for each in spellings if each.status == "undecided"]
    if len(undecided) == 1:
        title = f"Decide “{undecided[0].raw}”"
        yield NextAction(title, "One spelling is undecided.", "Decide", undecided[0].url)
    elif undecided:
        title = f"Decide the {len(undecided)} spellings"
        url = InboxAddress(order="newest").url()
        yield NextAction(title, "One form, one reason. The newest are first.", "Decide", url)


def _tell(
    refused: RefusedRequests | None, spellings: Sequence[RefusedSpelling]
) -> Iterator[NextAction]:
    """Yield a letter to the client with most refused requests; the table links the others."""
    if refused is None or not refused.listed:
        return
    worst = refused.listed[0]
    requests = _count(worst.refused, "request")
    note = f"{requests} were refused; what they meant to store is missing."
    if worst.refused == 1:
        note = "1 request was refused; what it meant to store is missing."
    others = refused.hurt - 1
    if others:
        note += f" {_count(others, 'other client')} below."
    title = f"Write to the owner of {worst.client}"
    yield NextAction(title, note, "Letter", letter_url(worst.client))


def _step(found: Incident, rollout: Rollout) -> Iterator[NextAction]:
    """Yield how to enforce again: the change itself needs a reason and the checks."""
    if not still_holds(found, rollout):
        return
    if found.scope is IncidentScope.CLIENT:
        links = proposal_links(rollout, found.clients[0])
        url = next((each.url for each in links if "Remove" in each.word), "")
        if url:
            title = f"End the holdout of {found.clients[0]}"
            note = "Once its spellings are decided, or it sends others."
            yield NextAction(title, note, "Look", url)
        return
    if found.scope is IncidentScope.ENDPOINT:
        title, note = f"Enforce {found.endpoint} again", "Remove its limit in the form."
        yield NextAction(title, note, "Look", f"{reverse('ops-rollout')}#change")
        return
    minutes = round(COOLDOWN.total_seconds() / 60)
    note = f"{minutes} minutes after the way back at the earliest."
    yield NextAction("Enforce again", note, "Look", reverse("admin:index"))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
