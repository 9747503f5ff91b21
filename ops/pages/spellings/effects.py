"""What a set of decisions would do to stored rows and to the requests of a week.

Both are read from the weights of the spellings, not from the rows and requests themselves, so that
a preview of 10,000 decisions takes a moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from django.http import QueryDict

from normalization import decision_gate
from normalization.decision_gate import DecisionShift
from normalization.decision_plan import LONGEST_TEXT
from normalization.decision_warnings import DecisionVerdict
from normalization.models import StageDecision
from normalization.rollout import enters_at
from ops.pages.spellings.inbox import SENT, VerdictShare, split_units
from ops.pages.spellings.models import SpellingWeight
from ops.pages.spellings.weights import OBSERVED_DAYS

GATE: Final = "would_refuse"
CLIENTS_LISTED: Final = 20
SENDERS_LISTED: Final = 5

REQUESTS: Final = """
SELECT coalesce(sum(requests), 0)::bigint FROM normalization_outcometally
WHERE minute > now() - %s * interval '1 day'
"""

BY_KEY: Final = f"""{SENT}
SELECT key, sum(rows)::bigint, coalesce(sum(requests), 0)::bigint
FROM ops_spellingweight AS held LEFT JOIN sent USING (spelling)
WHERE key = ANY(%s) GROUP BY key
"""  # noqa: S608 (constants of this module)

CHOSEN: Final = f"""{SENT}
SELECT count(*), coalesce(sum(rows), 0)::bigint, coalesce(sum(requests), 0)::bigint
FROM ops_spellingweight AS held LEFT JOIN sent USING (spelling)
WHERE (rows > 0 OR requests IS NOT NULL) AND (
    verdict = '' AND unit = ANY(%(units)s) AND spelling <> ALL(%(without)s)
    OR verdict = 'open' AND unit = ANY(%(opened)s) AND spelling <> ALL(%(without)s)
    OR verdict IN ('', 'open') AND key = ANY(%(keys)s))
"""  # noqa: S608 (constants of this module)

# `decided` is what the plan would decide; `verdict` is what holds today.
BY_CLIENT: Final = f"""
WITH decided AS (
    SELECT * FROM unnest(%(keys)s::text[], %(verdicts)s::text[]) AS each (key, verdict)
), week AS (
    SELECT client, endpoint, spelling COLLATE "C" AS spelling, sum(count)::bigint AS requests
    FROM normalization_observedspelling
    WHERE day > current_date - {OBSERVED_DAYS} GROUP BY 1, 2, 3
), meant AS (
    SELECT week.client, week.endpoint, week.requests, held.verdict AS before,
           coalesce(decided.verdict, held.verdict) AS after
    FROM week JOIN ops_spellingweight AS held USING (spelling)
    LEFT JOIN decided ON decided.key COLLATE "C" = held.key
)
SELECT client,
       coalesce(sum(requests) FILTER (WHERE before <> 'stage' AND after = 'stage'), 0)::bigint,
       coalesce(sum(requests) FILTER (WHERE after IN ('', 'open')), 0)::bigint,
       coalesce(sum(requests) FILTER (WHERE after IN ('', 'open', 'outside')), 0)::bigint,
       coalesce(sum(requests) FILTER (WHERE before = 'stage' AND after <> 'stage'), 0)::bigint,
       array_agg(DISTINCT endpoint) FILTER (WHERE before <> after)
FROM meant WHERE before <> 'built in' GROUP BY client
HAVING bool_or(before <> after) ORDER BY 4 DESC, client
"""  # noqa: S608 (constants of this module)

SENDERS: Final = f"""
SELECT client, sum(count)::bigint AS requests
FROM normalization_observedspelling AS observed
JOIN ops_spellingweight AS held ON held.spelling = observed.spelling COLLATE "C"
WHERE day > current_date - {OBSERVED_DAYS} AND unit = %s AND verdict IN ('', 'open')
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {SENDERS_LISTED}
"""  # noqa: S608 (constants of this module)


@dataclass(frozen=True, slots=True)
class KeyWeight:
    """The stored rows and the requests of seven days of all texts with one key."""

    rows: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class ClientEffect:
    """What a client would notice, in requests of seven days.

    `accepted` are newly read as a stage, `undecided` are still undecided, `refused` are refused
    where enforced, and `lost` were accepted before. `endpoints` received the changed texts.
    """

    client: str
    accepted: int
    undecided: int
    refused: int
    lost: int
    endpoints: Sequence[str]

    @property
    def enters_at(self) -> float:
        """The share of a rollout, in percent, from which the client is enforced."""
        return float(enters_at(self.client))


@dataclass(frozen=True, slots=True)
class RefusalCheck:
    """What the gate says about a change that refuses accepted requests."""

    sentence: str
    holds: bool
    may_override: bool


def check_of(shift: DecisionShift) -> RefusalCheck | None:
    """Return the verdict of the gate on a change, None where it is not asked."""
    verdicts = decision_gate.examine(shift)
    if not verdicts:
        return None
    held = [each for each in verdicts if each.outcome != "pass"]
    return RefusalCheck(
        sentence=" ".join(each.sentence for each in held or verdicts),
        holds=bool(held),
        may_override=all(each.overridable for each in held),
    )


def overrides_of(form: QueryDict) -> dict[str, str]:
    """Return the overrides of gates in a form; none where the field is empty or absent."""
    reason = form.get("override", "").strip()[:LONGEST_TEXT]
    return {GATE: reason} if reason else {}


def verdicts_after(shift: DecisionShift) -> list[tuple[str, str]]:
    """Return what each folded spelling of a change is afterwards, as `clients_of` takes it."""
    after = dict.fromkeys(sorted(shift.gone), "")
    after |= {row.key: row.verdict.value for row in shift.added}
    return list(after.items())


def requests_of_the_week() -> int:
    """Return how many requests gave stages in the last seven days."""
    with connection.cursor() as cursor:
        cursor.execute(REQUESTS, [OBSERVED_DAYS])
        return int(cursor.fetchone()[0])


def weights_of(keys: Iterable[str]) -> dict[str, KeyWeight]:
    """Return the weight of each folded spelling; those without any are absent."""
    with connection.cursor() as cursor:
        cursor.execute(BY_KEY, [list(keys)])
        return {key: KeyWeight(rows, requests) for key, rows, requests in cursor.fetchall()}


def texts_of(keys: Iterable[str]) -> list[str]:
    """Return the texts of stored rows and requests that fold to one of these spellings."""
    found = SpellingWeight.objects.filter(key__in=list(keys))
    return list(found.values_list("spelling", flat=True))


def decided_keys(keys: Iterable[str]) -> set[str]:
    """Return those of the folded spellings that have a decision in force, open ones excepted."""
    found = StageDecision.objects.filter(superseded_at__isnull=True, key__in=list(keys))
    return set(found.exclude(verdict=DecisionVerdict.OPEN).values_list("key", flat=True))


def share_of(units: Iterable[str], keys: Iterable[str], without: Iterable[str]) -> VerdictShare:
    """Return the undecided spellings, rows and requests of these units and folded spellings.

    The spellings `without` do not count as members of a unit.
    """
    plain, opened = split_units(units)
    values = {
        "units": plain,
        "opened": opened,
        "keys": list(keys),
        "without": list(without),
    }
    with connection.cursor() as cursor:
        cursor.execute(CHOSEN, values)
        return VerdictShare(*cursor.fetchone())


def clients_of(verdicts: Iterable[tuple[str, str]]) -> list[ClientEffect]:
    """Return the clients that would notice if each folded spelling had another verdict.

    A verdict is `stage`, `outside`, `open`, or empty for a decision that is retired. Those whose
    requests would be refused most come first.
    """
    decided = list(verdicts)
    values: dict[str, Any] = {
        "keys": [key for key, _ in decided],
        "verdicts": [verdict for _, verdict in decided],
    }
    with connection.cursor() as cursor:
        cursor.execute(BY_CLIENT, values)
        return [ClientEffect(*row) for row in cursor.fetchall()]


def senders_of(unit: str) -> Mapping[str, int]:
    """Return the clients that sent most of a unit's spellings in a week, with their requests."""
    with connection.cursor() as cursor:
        cursor.execute(SENDERS, [unit])
        return dict(cursor.fetchall())
