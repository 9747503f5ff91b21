"""The one place where endpoints check stages. A view needs three lines:

boundary = open_boundary(request, endpoint="fund-companies")
results = boundary.check(raws, pointer=lambda i: f"/stages/{i}")
return boundary.respond(body)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import structlog
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from normalization import decision_store, guard, metrics, observations, rollout_store
from normalization.deprecations import Tally, deprecation_headers, validation_header
from normalization.issue_codes import IssueCode, issue
from normalization.problems import Item, UnknownStage
from normalization.rollout import Mode, Rollout
from normalization.sampling import Sampler
from normalization.stages import Known, Meaning, Outside, SpellingTable, Unknown, normalize_all

log = structlog.get_logger(__name__)

ANONYMOUS: Final = "anonymous"
REHEARSAL: Final = "stage-validation=enforce"
DRY_RUN: Final = "handling=dry-run"
RECEIVED_CHARACTERS: Final = 100
# Warnings inform: a body that must stay small does not repeat 5,000 of them. For each code.
LISTED_WARNINGS: Final = 16

Results = list[Meaning]
_sampler = Sampler(all_below=10, then_one_in=100)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The normalizer's results in order, and the indices of those that are not canonical."""

    results: Results
    normalized: list[int]
    unknown: list[int]
    outside: list[int]

    def refusable(self, legacy: frozenset[str]) -> list[int]:
        """Return the indices of the stages that enforcement refuses, in order.

        `legacy` are stored spellings that the request repeats. No mode refuses them.
        """
        without_stage = sorted(self.unknown + self.outside)
        return [i for i in without_stage if str(self.results[i].raw) not in legacy]

    def outcome(self, refusable: list[int], mode: Mode) -> str:
        """Return the worst outcome in `mode`: the value of the metric's label `outcome`.

        A stored spelling that the request repeats counts as normalized: accepted in every mode,
        but not canonical.
        """
        if not refusable:
            every_one_canonical = not (self.normalized or self.unknown or self.outside)
            return "canonical" if every_one_canonical else "normalized"
        if mode is Mode.ENFORCE:
            return "rejected"
        unknown = any(isinstance(self.results[i], Unknown) for i in refusable)
        return "unknown" if unknown else "outside"

    def spellings(self) -> Counter[tuple[str, str]]:
        """Count (raw, stage or "") of everything that is not canonical."""
        counted: Counter[tuple[str, str]] = Counter()
        for i in self.normalized:
            known = cast("Known", self.results[i])
            counted[known.raw, known.stage.value] += 1
        for i in (*self.unknown, *self.outside):
            counted[str(self.results[i].raw), ""] += 1
        return counted


def judge(raws: Sequence[object], table: SpellingTable) -> Judgement:
    """Normalize stages and sort out those that are not canonical; never raises."""
    results = normalize_all(raws, table)
    normalized: list[int] = []
    unknown: list[int] = []
    outside: list[int] = []
    for i, result in enumerate(results):
        kind = result.__class__
        if kind is Unknown:
            unknown.append(i)
        elif kind is Outside:
            outside.append(i)
        elif not result.canonical:  # type: ignore[union-attr]  # Known, by elimination
            normalized.append(i)
    return Judgement(results, normalized, unknown, outside)


@dataclass(frozen=True, slots=True)
class StagePolicy:
    """How the stages of a client at an endpoint are decided: mode and table, read once."""

    mode: Mode
    rollout: Rollout
    version: int
    table: SpellingTable

    def refuses(self, result: Meaning) -> bool:
        """Return whether this stage is refused: in mode enforce, unless it is known."""
        return self.mode is Mode.ENFORCE and not isinstance(result, Known)


def policy_for(endpoint: str, client: str) -> StagePolicy:
    """Return the policy in force now for a client at an endpoint.

    Code without a request (admin forms, imports) decides with it as the endpoints do.
    """
    snapshot = rollout_store.current()
    mode = snapshot.rollout.mode_for(endpoint, client)
    return StagePolicy(mode, snapshot.rollout, snapshot.version, decision_store.current())


def refusal_sentence(result: Meaning) -> str:
    """Return a printable sentence about a refused stage, with its suggestions or its note."""
    stage = f"The stage {observations.printable(str(result.raw))!r}"
    if isinstance(result, Outside):
        note = f": {result.note.rstrip('.')}" if result.note else ""
        return f"{stage} is outside the six stages{note}."
    meant = " or ".join(result.suggestions) if isinstance(result, Unknown) else ""
    return f"{stage} is not known." + (f" Did you mean {meant}?" if meant else "")


def open_boundary(request: Request, endpoint: str) -> Boundary:
    """Begin the check of one request: take the rollout, the spelling table and the mode."""
    client = str(getattr(request.auth, "name", ANONYMOUS))
    http = request._request
    preferred = _preferences(http.META.get("HTTP_PREFER", ""))
    dry_run = DRY_RUN in preferred and http.method not in SAFE_METHODS
    boundary = Boundary(endpoint, client, rehearsal=REHEARSAL in preferred, dry_run=dry_run)
    boundary.user_agent = http.META.get("HTTP_USER_AGENT", "")
    # Problems raised later in the request carry the boundary's headers too: see
    # problems.problem_exception_handler.
    http.stage_boundary = boundary  # type: ignore[attr-defined]
    return boundary


def _preferences(prefer: str) -> set[str]:
    """Return the preferences of RFC 7240's `Prefer`, lowercase, without parameters and quotes."""
    if not prefer:  # most requests
        return set()
    names = (preference.partition(";")[0] for preference in prefer.lower().split(","))
    return {"".join(name.split()).replace('"', "") for name in names}


class Boundary:
    """The check of one request's stages: results, counts, and the answer's headers and
    warnings.
    """

    def __init__(
        self, endpoint: str, client: str, *, rehearsal: bool = False, dry_run: bool = False
    ) -> None:
        self.endpoint, self.client, self.rehearsal = endpoint, client, rehearsal
        self.dry_run = dry_run
        self.user_agent = ""
        given = policy_for(endpoint, client)
        self.applied_mode = given.mode
        self.policy = replace(given, mode=Mode.ENFORCE) if rehearsal else given
        self.policy_version, self.table = self.policy.version, self.policy.table
        self.tally = Tally()
        self.warnings: list[Item] = []

    @property
    def mode(self) -> Mode:
        """The mode of this request: the rollout's for this client, or enforce in a rehearsal."""
        return self.policy.mode

    def check(
        self,
        raws: Sequence[object],
        pointer: Callable[[int], str],
        *,
        legacy: frozenset[str] = frozenset(),
        where: str = "body",
    ) -> Results:
        """Return a result for each raw stage, in order; count, tally and log the request.

        `pointer(i)` names the place of the i-th stage. `legacy` are spellings that are stored
        already and are never refused. Raises `UnknownStage` in mode enforce, naming every stage
        that is unknown or outside.
        """
        started = time.perf_counter()
        judgement = judge(raws, self.table)
        metrics.VALIDATOR_SECONDS.observe(time.perf_counter() - started)
        refusable = judgement.refusable(legacy)
        outcome = judgement.outcome(refusable, self.mode)
        self.tally = Tally(
            len(judgement.normalized), len(judgement.unknown), len(judgement.outside)
        )
        if raws and not self.dry_run:
            self._count(judgement, outcome)
        if outcome == "rejected":
            items = [stage_item(judgement.results[i], pointer(i), where) for i in refusable]
            raise UnknownStage(items, len(raws), self.mode, self.policy_version)
        if self.mode is not Mode.OFF:
            self._warn_of(
                judgement, judgement.unknown, IssueCode.MORE_UNKNOWN_STAGES, pointer, where
            )
            self._warn_of(
                judgement, judgement.outside, IssueCode.MORE_OUTSIDE_STAGES, pointer, where
            )
        return judgement.results

    def warn(self, code: IssueCode, pointer: str, **members: Any) -> None:
        """Add an item to the answer's `warnings`, in any mode."""
        self.warnings.append(issue(pointer, code, **members))

    def headers(self) -> dict[str, str]:
        """Return the response headers: only text that the server made, ASCII."""
        headers = {
            "Stage-Validation": validation_header(self.mode, self.policy_version, self.tally)
        }
        if self.mode is not Mode.OFF and self.tally.deprecated:
            headers |= deprecation_headers(self.policy.rollout)
        applied = [REHEARSAL] * self.rehearsal + [DRY_RUN] * self.dry_run
        if applied:
            headers["Preference-Applied"] = ", ".join(applied)
        return headers

    def respond(
        self, body: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Return the endpoint's answer with the boundary's headers, and `warnings` where there are
        any.
        """
        if self.warnings:
            body = {**body, "warnings": [*body.get("warnings", ()), *self.warnings]}
        return Response(body, status=status, headers={**self.headers(), **(headers or {})})

    def _count(self, judgement: Judgement, outcome: str) -> None:
        # A rehearsal counts under the mode that the rollout gave: its rejects must not trigger
        # the automatic way back.
        metrics.count_request(self.endpoint, self.applied_mode, outcome)
        if self.applied_mode is Mode.ENFORCE and not self.rehearsal:
            rejected = outcome == "rejected"
            guard.record(self.policy_version, self.endpoint, self.client, rejected=rejected)
        spellings = judgement.spellings()
        observations.record(self.endpoint, self.client, self.applied_mode, outcome, spellings)
        if self.user_agent:
            observations.record_agent(self.client, self.user_agent)
        if spellings and (rate := _sampler.rate()):
            log.info(
                "stage_not_canonical",
                endpoint=self.endpoint,
                client=self.client,
                mode=self.mode,
                outcome=outcome,
                policy_version=self.policy_version,
                normalized=self.tally.normalized,
                unknown=self.tally.unknown,
                outside=self.tally.outside,
                spellings=[
                    observations.printable(raw) for (raw, _), _count in spellings.most_common(5)
                ],
                sampling_rate=rate,
            )

    def _warn_of(
        self,
        judgement: Judgement,
        places: list[int],
        more_code: IssueCode,
        pointer: Callable[[int], str],
        where: str,
    ) -> None:
        for i in places[:LISTED_WARNINGS]:
            self.warnings.append(stage_item(judgement.results[i], pointer(i), where))
        if (more := len(places) - LISTED_WARNINGS) > 0:
            self.warn(more_code, "", count=more)


def stage_item(result: Meaning, pointer: str, where: str) -> Item:
    """Return the item for a stage that is unknown or outside, for `errors` and `warnings`.

    `where` is "body" or the name of the place in the request that holds the stage.
    """
    outside = isinstance(result, Outside)
    code = IssueCode.OUTSIDE_STAGE if outside else IssueCode.UNKNOWN_STAGE
    item = issue(pointer, code, received=_received(result.raw))
    if where != "body":
        item["in"] = where
    if isinstance(result, Outside):
        return {**item, "suggestions": [], "note": result.note}
    suggested = result.suggestions if isinstance(result, Unknown) else ()
    return {**item, "suggestions": [stage.value for stage in suggested]}


def _received(raw: object) -> str:
    return (raw if isinstance(raw, str) else str(raw))[:RECEIVED_CHARACTERS]
