"""Forms of the rollout page.

`RolloutForm` has the whole rollout, a reason, and the version that the operator was looking at, so
that a newer change is never overwritten. `BackToWarnForm` has only a reason.
"""

from __future__ import annotations

from typing import Any, Final

from django import forms

from normalization import conf
from normalization.rollout import TRANSITIONS, Mode, Rollout, RolloutInvalid
from ops.pages.panels import GATE_NAMES, GATE_TITLES
from ops.pages.rollout.changes import percent_text

MODES: Final = [(mode.value, mode.value) for mode in Mode]
AS_THE_MODE: Final = [("", "as the mode"), *MODES]
MEANING: Final = {
    Mode.OFF: "stages are observed and counted, clients see nothing",
    Mode.WARN: "clients are warned about deprecated and unknown spellings, nothing is refused",
    Mode.ENFORCE: "requests of enforced clients that name an unknown stage are refused",
}


class NamesField(forms.CharField):
    """Client names, one a line. The cleaned value is a frozenset."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            required=False,
            widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
            **kwargs,
        )

    def prepare_value(self, value: Any) -> Any:
        """Return the text of the field: the names in order."""
        return "\n".join(sorted(value)) if isinstance(value, frozenset) else value

    def clean(self, value: Any) -> frozenset[str]:
        """Return the names without surrounding white space and empty lines."""
        lines = [line.strip() for line in str(value or "").splitlines()]
        return frozenset(line for line in lines if line)


class BackToWarnForm(forms.Form):
    """The reason for taking enforcement back, filled in so that one click is enough."""

    reason = forms.CharField(max_length=500, initial="By hand: enforcement causes problems")


class RolloutForm(forms.Form):
    """The whole rollout. `now` and `version` are those in force.

    `proposed` is a rollout that a link fills in. `asked()` returns the rollout that the operator
    asks for.
    """

    mode = forms.ChoiceField(choices=MODES, widget=forms.RadioSelect)
    enforce_percent = forms.DecimalField(
        label="Share of clients enforced, %",
        help_text="In mode enforce; other clients are warned. A larger share needs the checks.",
        min_value=0,
        max_value=100,
        decimal_places=2,
        max_digits=5,
    )
    pilots = NamesField(label="Pilots", help_text="Always in, at any share. One a line.")
    holdouts = NamesField(label="Holdouts", help_text="Held out: never enforced. One a line.")
    enforce_at = forms.DateTimeField(
        label="Announced enforce date (UTC)",
        required=False,
        input_formats=["%Y-%m-%d %H:%M", "%Y-%m-%d"],
        help_text="For example 2026-12-31. Clients receive it as Sunset; it changes nothing else.",
        widget=forms.DateTimeInput(format="%Y-%m-%d %H:%M"),
    )
    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Later readers of the history see this.",
    )
    expected_version = forms.IntegerField(min_value=0, widget=forms.HiddenInput)
    held_gates: tuple[str, ...] = ()
    """The gates that held the change and may be overridden."""

    def __init__(
        self, now: Rollout, version: int, data: Any = None, proposed: Rollout | None = None
    ) -> None:
        super().__init__(data, initial=_initial(proposed or now, version), label_suffix="")
        self._now = now
        self.proposed = proposed
        self.fields["mode"].widget.choices = [
            (mode.value, _mode_label(now.mode, mode)) for mode in Mode
        ]
        for gate in GATE_NAMES:
            self.fields[_gate_field(gate)] = forms.CharField(
                label=f"Why “{GATE_TITLES[gate]}” may be skipped",
                max_length=500,
                required=False,
                widget=forms.Textarea(attrs={"rows": 2}),
            )
        for name in self._endpoints():
            cap = now.overrides.get(name)
            self.fields[_field(name)] = forms.ChoiceField(
                choices=AS_THE_MODE, required=False, label=name, initial=cap.value if cap else ""
            )

    @property
    def shows_override(self) -> bool:
        """Whether the part that skips checks is open."""
        return bool(self.override_fields())

    def override_fields(self) -> list[forms.BoundField]:
        """Return a field for each gate that held the change, or that has a reason typed in."""
        fields = ((gate, self[_gate_field(gate)]) for gate in GATE_NAMES)
        return [field for gate, field in fields if gate in self.held_gates or field.value()]

    def gate_overrides(self) -> dict[str, str]:
        """Return {gate: reason} of a valid form."""
        reasons = {gate: self.cleaned_data[_gate_field(gate)].strip() for gate in GATE_NAMES}
        return {gate: reason for gate, reason in reasons.items() if reason}

    def asked(self) -> Rollout | None:
        """Return the rollout of a valid form, or the proposed one of an empty form.

        None if the form is invalid, or empty without a proposal.
        """
        found: Rollout | None = getattr(self, "cleaned_data", {}).get("rollout", self.proposed)
        return found

    def of_version(self, version: int, now: Rollout) -> RolloutForm:
        """Return the form with the same input, as if the operator had looked at `version`."""
        data = {**dict(self.data.items()), "expected_version": str(version)}
        return RolloutForm(now, version, data)

    def endpoint_fields(self) -> list[forms.BoundField]:
        """Return the fields for the caps of single endpoints."""
        return [self[_field(name)] for name in self._endpoints()]

    def clean(self) -> dict[str, Any]:
        """Add `rollout` to the cleaned data, or an error if the fields contradict each other."""
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                cleaned["rollout"] = self._rollout(cleaned)
            except RolloutInvalid as error:
                self.add_error(None, str(error))
        return cleaned

    def _endpoints(self) -> list[str]:
        return sorted(conf.stage_endpoints().keys() | self._now.overrides.keys())

    def _rollout(self, cleaned: dict[str, Any]) -> Rollout:
        caps = {name: cleaned.get(_field(name)) for name in self._endpoints()}
        return Rollout(
            mode=Mode(cleaned["mode"]),
            enforce_percent=cleaned["enforce_percent"],
            pilots=cleaned["pilots"],
            holdouts=cleaned["holdouts"],
            overrides={name: Mode(mode) for name, mode in caps.items() if mode},
            enforce_at=cleaned["enforce_at"],
        )


def _mode_label(now: Mode, to: Mode) -> str:
    transition = TRANSITIONS[now, to]
    if now is to:
        return f"{to}: {MEANING[to]} (in force)"
    if transition.allowed:
        return f"{to}: {MEANING[to]}"
    return f"{to}: not from {now}; {transition.reason}"


def _gate_field(gate: str) -> str:
    return f"override:{gate}"


def _field(endpoint: str) -> str:
    return f"endpoint:{endpoint}"


def _initial(rollout: Rollout, version: int) -> dict[str, Any]:
    return {
        "mode": rollout.mode.value,
        "enforce_percent": percent_text(rollout.enforce_percent),
        "pilots": rollout.pilots,
        "holdouts": rollout.holdouts,
        "enforce_at": rollout.enforce_at,
        "expected_version": version,
    }
