"""The form of the rollout page: the whole rollout, a reason, and the version that the operator was looking at."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from normalization import conf
from normalization.rollout import TRANSITIONS, Mode, Rollout, RolloutInvalid

MODES: Final = [(mode.value, mode.value) for mode in Mode]
MEANING: Final = {
    Mode.OFF: "stages are observed and counted, clients see nothing",
    Mode.WARN: "clients are told of deprecated and unknown spellings, nothing is refused",
    Mode.ENFORCE: "requests of enforced clients that name an unknown stage are refused",
}
AS_THE_MODE: Final = [("", "as the mode"), *MODES]


class NamesField(forms.CharField):
    """Client names, one a line; cleaned to a frozenset."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            required=False,
            widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
            **kwargs,
        )

    def prepare_value(self, value: Any) -> Any:
        """Show the names in order."""
        return "\n".join(sorted(value)) if isinstance(value, frozenset) else value

    def clean(self, value: Any) -> frozenset[str]:
        """Return the names."""
        return frozenset(name.strip() for name in str(value or "").splitlines() if name.strip())


class BackToWarnForm(forms.Form):
    """The reason of the way back, written already so that one click is enough."""

    reason = forms.CharField(
        max_length=500, initial="By hand: something is wrong with enforcement"
    )


class RolloutForm(forms.Form):
    """`asked()` is what the operator asks for: once the form is valid, or what an empty form is `proposed` to be."""

    mode = forms.ChoiceField(choices=MODES, widget=forms.RadioSelect)
    enforce_percent = forms.DecimalField(
        label="Share of clients enforced, %",
        min_value=0,
        max_value=100,
        decimal_places=2,
        max_digits=5,
    )
    pilots = NamesField(
        label="Pilots", help_text="Clients enforced whatever the share, one a line."
    )
    holdouts = NamesField(label="Holdouts", help_text="Clients never enforced, one a line.")
    enforce_at = forms.DateTimeField(
        label="Announced enforce date (UTC)",
        required=False,
        input_formats=["%Y-%m-%d %H:%M", "%Y-%m-%d"],
        help_text="For example 2026-12-31. Clients see it as Sunset; it changes nothing by itself.",
        widget=forms.DateTimeInput(format="%Y-%m-%d %H:%M"),
    )
    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="What the next person will read.",
    )
    override_reason = forms.CharField(
        label="Why it goes on although a gate says no",
        max_length=500,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Only where a gate holds the change and you answer for what follows. Recorded with every verdict.",
    )
    expected_version = forms.IntegerField(min_value=0, widget=forms.HiddenInput)
    gates_refused = False

    def __init__(
        self, now: Rollout, version: int, data: Any = None, proposed: Rollout | None = None
    ) -> None:
        super().__init__(data, initial=_initial(proposed or now, version), label_suffix="")
        self.fields["mode"].widget.choices = [
            (mode.value, _explained(now.mode, mode)) for mode in Mode
        ]
        self._now, self.proposed = now, proposed
        for name in sorted(conf.stage_endpoints().keys() | now.overrides.keys()):
            cap = now.overrides.get(name)
            self.fields[_field(name)] = forms.ChoiceField(
                choices=AS_THE_MODE, required=False, label=name, initial=cap.value if cap else ""
            )

    def asked(self) -> Rollout | None:
        """Return the rollout that is asked for or proposed; None while the form is as it was, or wrong in itself."""
        found: Rollout | None = getattr(self, "cleaned_data", {}).get("rollout", self.proposed)
        return found

    def of_version(self, version: int, now: Rollout) -> RolloutForm:
        """Return the form with everything that was typed, as if its writer had looked at `version`."""
        return RolloutForm(
            now, version, {**dict(self.data.items()), "expected_version": str(version)}
        )

    def endpoint_fields(self) -> list[forms.BoundField]:
        """Return the fields of the endpoints' caps."""
        return [self[name] for name in self.fields if name.startswith("endpoint:")]

    def clean(self) -> dict[str, Any]:
        """Hold the fields together to what a rollout can be."""
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                cleaned["rollout"] = self._rollout(cleaned)
            except RolloutInvalid as error:
                self.add_error(None, str(error))
        return cleaned

    def _rollout(self, cleaned: dict[str, Any]) -> Rollout:
        names = conf.stage_endpoints().keys() | self._now.overrides.keys()
        caps = {name: cleaned.get(_field(name)) for name in names}
        return Rollout(
            mode=Mode(cleaned["mode"]),
            enforce_percent=cleaned["enforce_percent"],
            pilots=cleaned["pilots"],
            holdouts=cleaned["holdouts"],
            overrides={name: Mode(mode) for name, mode in caps.items() if mode},
            enforce_at=cleaned["enforce_at"],
        )


def _explained(now: Mode, to: Mode) -> str:
    way = TRANSITIONS[now, to]
    if now is to:
        return f"{to}: {MEANING[to]} (in force)"
    return f"{to}: {MEANING[to]}" if way.allowed else f"{to}: not from {now}; {way.reason}"


def _field(endpoint: str) -> str:
    return f"endpoint:{endpoint}"


def _initial(now: Rollout, version: int) -> dict[str, Any]:
    return {
        "mode": now.mode.value,
        "enforce_percent": f"{now.enforce_percent.normalize():f}",
        "pilots": now.pilots,
        "holdouts": now.holdouts,
        "enforce_at": now.enforce_at,
        "expected_version": version,
    }
