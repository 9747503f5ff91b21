"""The next step and the plan on the rollout page: their forms, and what the side column shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django import forms

from normalization.rollout import Mode, Rollout
from normalization.rollout_plan import (
    GATE,
    HOUR,
    MOST_REQUESTS,
    WARN,
    PlanInvalid,
    PlanStep,
    RolloutPlan,
    spoken,
)
from normalization.rollout_steps import StepStanding
from ops.pages.panels import GatePanel
from ops.pages.rollout.changes import percent_text
from ops.pages.rollout.step_effects import StepEffects

EXTRA_STEPS: Final = 2


class NextStepForm(forms.Form):
    """The reason for the next step, and the version that the operator was looking at.

    `sooner` is set where the page showed that the step in force has not run long enough: the
    reason then also skips that check.
    """

    reason = forms.CharField(max_length=500, widget=forms.Textarea(attrs={"rows": 2}))
    expected_version = forms.IntegerField(min_value=0, widget=forms.HiddenInput)
    sooner = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def gate_overrides(self) -> dict[str, str]:
        """Return {gate: reason} of a valid form."""
        return {GATE: self.cleaned_data["reason"]} if self.cleaned_data["sooner"] else {}


class PlanStepForm(forms.Form):
    """One step of the plan that enforces: a share with its least hours and requests."""

    share = forms.DecimalField(
        min_value=Decimal("0.01"), max_value=100, decimal_places=2, required=False
    )
    hours = forms.DecimalField(min_value=0, max_value=8_760, decimal_places=2, required=False)
    requests = forms.IntegerField(min_value=0, max_value=MOST_REQUESTS, required=False)

    def step(self) -> PlanStep | None:
        """Return the step of a valid form, None for an empty row."""
        cleaned = self.cleaned_data
        share = WARN if self.prefix == "steps-0" else cleaned.get("share")
        if share is None:
            return None
        seconds = int((cleaned.get("hours") or 0) * HOUR)
        return PlanStep(Decimal(share), seconds, cleaned.get("requests") or 0)


class PlanReasonForm(forms.Form):
    """The reason for a change of the plan."""

    reason = forms.CharField(max_length=500)


PlanFormSet: Final = forms.formset_factory(PlanStepForm, extra=EXTRA_STEPS, max_num=20)


@dataclass(frozen=True, slots=True)
class PlanInput:
    """The forms of the plan, and why they are no valid plan ("" if they are)."""

    rows: Any
    reason: PlanReasonForm
    error: str = ""

    @classmethod
    def of_plan(cls, plan: RolloutPlan) -> PlanInput:
        """Return the forms filled with `plan`."""
        initial = [
            {
                "share": None if step.rank == WARN else percent_text(step.rank),
                "hours": percent_text(Decimal(step.least_seconds) / HOUR),
                "requests": step.least_requests,
            }
            for step in plan.steps
        ]
        return cls(PlanFormSet(initial=initial, prefix="steps"), PlanReasonForm())

    def plan(self) -> RolloutPlan:
        """Return the plan of the input; raises `PlanInvalid`."""
        if not self.rows.is_valid() or not self.reason.is_valid():
            raise PlanInvalid("Give each step numbers, and a reason for the change.")
        steps = [form.step() for form in self.rows.forms]
        return RolloutPlan(tuple(step for step in steps if step is not None))


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A step of the plan in the side column."""

    name: str
    state: str
    least: str


@dataclass(frozen=True, slots=True)
class StepPanel:
    """The side column: the step in force with its least time, the next one, and the plan.

    `held` counts the gates that hold the next step, `waits` is why the step in force holds it.
    `facts` are what the next step is, as term and value.
    """

    heading: str
    title: str
    button: str
    facts: Sequence[tuple[str, str]]
    held: int
    waits: str
    ran: str
    seconds: int
    least_seconds: int
    least_text: str
    requests: str
    rows: Sequence[PlanRow]
    has_next: bool


def step_panel(
    found: StepStanding, gates: GatePanel | None, effects: StepEffects | None, gates_are_on: bool
) -> StepPanel:
    """Return what the page shows of the plan. `gates_are_on`: whether a change asks them."""
    step, run, current = found.next, found.run, found.current
    held = gates.held_gates if gates is not None and gates_are_on else []
    asks = step is not None and step.rank != WARN
    return StepPanel(
        heading=_heading(found.rollout, step),
        title=_title(step) if step is not None else "",
        button=_title(step) if step is not None else "",
        facts=list(_facts(found, effects)),
        held=len(held) if asks else 0,
        waits=found.held.sentence if found.held and gates_are_on else "",
        ran=spoken(run.seconds) if run is not None else "",
        seconds=int(min(run.seconds, current.least_seconds)) if run and current else 0,
        least_seconds=current.least_seconds if current is not None else 0,
        least_text=spoken(current.least_seconds) if current is not None else "",
        requests=_requests(found),
        rows=list(_rows(found)),
        has_next=step is not None,
    )


def _heading(rollout: Rollout, step: PlanStep | None) -> str:
    if rollout.mode is Mode.ENFORCE:
        if rollout.enforce_percent == 100:
            return "Enforcing for every client"
        return f"Enforcing for {percent_text(rollout.enforce_percent)} %"
    title = _title(step) if step is not None else ""
    return f"Next step: {title[:1].lower()}{title[1:]}"


def _title(step: PlanStep) -> str:
    if step.rank == WARN:
        return "Warn clients"
    return "Enforce for every client" if step.rank == 100 else f"Enforce for {step.name}"


def _facts(found: StepStanding, effects: StepEffects | None) -> Iterator[tuple[str, str]]:
    step = found.next
    if step is None or step.rank == WARN:
        return
    if effects is not None:
        share = f"{effects.percent:.2f} % of their requests" if effects.refused else ""
        refused = f"{effects.refused:,} a day" if effects.refused else "none"
        yield "Clients", f"{effects.later[0].clients:,} of {effects.clients:,}"
        yield "Refused", f"{refused}, {share}" if share else refused
    after = found.plan.next(step.applied_to(found.rollout))
    if after is not None and step.least_seconds:
        yield "At least", f"{spoken(step.least_seconds)}, then {after.name}"


def _requests(found: StepStanding) -> str:
    run, step = found.run, found.current
    if run is None or step is None or not step.least_requests:
        return ""
    if run.requests >= step.least_requests:
        return f"{step.least_requests:,} requests: reached"
    return f"{run.requests:,} of at least {step.least_requests:,} requests"


def _rows(found: StepStanding) -> Iterator[PlanRow]:
    for step in found.plan.steps:
        state = "here" if step == found.current else "next" if step == found.next else ""
        parts = [spoken(step.least_seconds)] if step.least_seconds else []
        if step.least_requests:
            parts.append(f"{step.least_requests:,} requests")
        name = f"{step.name[:1].upper()}{step.name[1:]}"
        yield PlanRow(name, state, ", ".join(parts) or "none")
