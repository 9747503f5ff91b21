"""Admin pages of the normalizer app: decisions are made here, everything else is read-only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Count, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from normalization import decisions
from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.models import (
    VERDICT_CHOICES,
    DecisionBatch,
    ObservedSpelling,
    OutcomeTally,
    RolloutChange,
    RolloutPlanChange,
    StageDecision,
)
from normalization.stages import LONGEST, Stage
from stagenorm.terminal import plain


class LedgerAdmin(admin.ModelAdmin[Any]):
    """A model that people read and only the product writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: rows are not added by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: rows are not edited by hand."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: rows are not deleted by hand."""
        return False


@admin.register(RolloutChange)
class RolloutChangeAdmin(LedgerAdmin):
    """History of the rollout; its id is the version."""

    list_display = (
        "id",
        "created_at",
        "previous_mode",
        "mode",
        "enforce_percent",
        "actor",
        "source",
        "reason",
    )
    list_filter = ("mode", "source")
    search_fields = ("actor", "reason")


@admin.register(RolloutPlanChange)
class RolloutPlanChangeAdmin(LedgerAdmin):
    """History of the plan of the rollout's steps."""

    list_display = ("id", "created_at", "actor", "source", "reason")
    search_fields = ("actor", "reason")


class StageDecisionForm(ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """Ask for one decision, and show at the fields why it cannot be made or needs a second
    look.
    """

    spelling = forms.CharField(required=False, strip=False, max_length=LONGEST)
    verdict = forms.ChoiceField(choices=VERDICT_CHOICES, initial=DecisionVerdict.STAGE.value)
    confirm = forms.BooleanField(
        required=False, label="Confirm", help_text="Decide despite the warnings above."
    )

    class Meta:
        model = StageDecision
        fields = ("spelling", "verdict", "stage", "kind", "note", "reason")
        widgets = {"reason": forms.Textarea(attrs={"rows": 2})}

    def clean(self) -> dict[str, Any]:
        """Plan the decision, and report what the plan found at its fields."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        self.plan = decisions.plan([_row(cleaned)])
        for conflict in self.plan.conflicts:
            self.add_error("spelling", f"This cannot be decided: {conflict.why}.")
        if self.plan.unchanged:
            self.add_error("spelling", "This decision is in force already.")
        if not cleaned["confirm"]:
            for objection in self._objections():
                self.add_error("confirm", objection)
        return cleaned

    def _objections(self) -> Iterator[str]:
        for change in self.plan.changed:
            verdict = change.before.stage or change.before.verdict
            yield f"This spelling is decided already: {verdict}. Confirm to change the decision."
        for warned in self.plan.unconfirmed([]):
            for warning in warned.warnings:
                yield warning.sentence

    def _post_clean(self) -> None:
        """Skip the model's own validation: the plan has validated the row."""


class RetireForm(ActionForm):
    """The field beside the list's actions."""

    reason = forms.CharField(required=False, max_length=500, label="Reason:")


@admin.register(StageDecision)
class StageDecisionAdmin(admin.ModelAdmin[StageDecision]):
    """Decisions. They are added, changed by a new one or retired, never edited."""

    form = StageDecisionForm
    action_form = RetireForm
    list_display = (
        "shown",
        "verdict",
        "stage",
        "kind",
        "decided_by",
        "reason",
        "batch_id",
        "created_at",
        "superseded_at",
    )
    list_filter = ("verdict", "stage", ("superseded_at", admin.EmptyFieldListFilter))
    search_fields = ("spelling", "reason")
    actions = ("retire",)

    @admin.display(description="spelling", ordering="key")
    def shown(self, decision: StageDecision) -> str:
        """Return the spelling with its invisible characters spelled out."""
        return plain(decision.spelling).strip() or "(blank)"

    def has_change_permission(
        self, request: HttpRequest, obj: StageDecision | None = None
    ) -> bool:
        """Return whether the list is open for its action; a single decision is not edited."""
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(
        self, request: HttpRequest, obj: StageDecision | None = None
    ) -> bool:
        """Return False: decisions are retired."""
        return False

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the form again if someone else changed the decisions in the meantime."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except decisions.DecisionRefused as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect(request.get_full_path())

    def save_model(
        self, request: HttpRequest, obj: StageDecision, form: Any, change: bool
    ) -> None:
        """Apply the plan of the form."""
        result = decisions.apply(
            form.plan,
            author=_name(request.user),
            source=DecisionBatch.Source.ADMIN,
            confirmed=[row.spelling for row in form.plan.written],
        )
        decided = StageDecision.objects.get(batch_id=result.version)
        obj.pk, obj.spelling, obj.batch_id = decided.pk, decided.spelling, decided.batch_id

    @admin.action(description="Retire selected decisions", permissions=["change"])
    def retire(self, request: HttpRequest, queryset: QuerySet[StageDecision]) -> None:
        """Take the selected decisions out of force, in one batch."""
        active = queryset.filter(superseded_at__isnull=True)
        spellings = list(active.values_list("spelling", flat=True))
        if not spellings:
            self.message_user(request, "None of these is in force.", messages.WARNING)
            return
        try:
            result = decisions.retire(
                spellings,
                author=_name(request.user),
                source=DecisionBatch.Source.ADMIN,
                reason=request.POST.get("reason", "") or "Retired in the admin.",
            )
        except decisions.DecisionRefused as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self.message_user(
            request,
            f"{result.superseded} decisions retired, in batch {result.version}.",
            messages.SUCCESS,
        )


@admin.register(DecisionBatch)
class DecisionBatchAdmin(LedgerAdmin):
    """Changes of the decisions; the newest id is their version."""

    list_display = (
        "id",
        "created_at",
        "action",
        "source",
        "author",
        "reason",
        "decided",
        "superseded",
        "undone_by_id",
    )
    list_filter = ("action", "source")
    search_fields = ("author", "reason")
    actions = ("undo",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[DecisionBatch]:
        """Return the batches with the number of their decisions."""
        batches: QuerySet[DecisionBatch] = super().get_queryset(request)
        return batches.annotate(
            decided_count=Count("decisions", distinct=True),
            superseded_count=Count("superseded", distinct=True),
        )

    @admin.display(description="decided")
    def decided(self, batch: Any) -> int:
        """Return how many decisions the batch brought into force."""
        return int(batch.decided_count)

    @admin.display(description="replaced or retired")
    def superseded(self, batch: Any) -> int:
        """Return how many decisions the batch took out of force."""
        return int(batch.superseded_count)

    def has_undo_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may change decisions."""
        return bool(request.user.has_perm("normalization.change_stagedecision"))

    @admin.action(description="Undo selected batches, the newest first", permissions=["undo"])
    def undo(self, request: HttpRequest, queryset: QuerySet[DecisionBatch]) -> None:
        """Take back what the batches did, where it still stands."""
        for number in queryset.order_by("-id").values_list("id", flat=True):
            try:
                result = decisions.undo(
                    number, author=_name(request.user), source=DecisionBatch.Source.ADMIN
                )
            except decisions.DecisionRefused as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                text = f"Batch {number} is undone, by batch {result.version}."
                self.message_user(request, text, messages.SUCCESS)


@admin.register(ObservedSpelling)
class ObservedSpellingAdmin(LedgerAdmin):
    """What clients sent that was not canonical."""

    list_display = ("day", "spelling", "stage", "endpoint", "client", "count", "last_seen")
    list_filter = ("day", "endpoint", ("stage", admin.EmptyFieldListFilter))
    search_fields = ("spelling", "client")
    show_full_result_count = False


@admin.register(OutcomeTally)
class OutcomeTallyAdmin(LedgerAdmin):
    """Requests by outcome, one row for each minute."""

    list_display = ("minute", "endpoint", "client", "mode", "outcome", "requests")
    list_filter = ("endpoint", "mode", "outcome")
    search_fields = ("client",)
    show_full_result_count = False


def _name(user: AbstractBaseUser | AnonymousUser) -> str:
    return user.get_username()


def _row(cleaned: dict[str, Any]) -> DecisionRow:
    return DecisionRow(
        spelling=cleaned["spelling"],
        verdict=DecisionVerdict(cleaned["verdict"]),
        stage=Stage(cleaned["stage"]) if cleaned["stage"] else None,
        kind=cleaned["kind"],
        note=cleaned["note"],
        source=cleaned["reason"],
    )
