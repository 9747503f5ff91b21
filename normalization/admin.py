"""Admin pages of the normalizer app: aliases are decided here, everything else is a ledger to read."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from normalization import aliases
from normalization.models import ObservedSpelling, OutcomeTally, RolloutChange, StageAlias
from normalization.stages import Stage, fold


class LedgerAdmin(admin.ModelAdmin[Any]):
    """A model that people read and only the product writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits rows by hand."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes rows by hand."""
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


class StageAliasForm(ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """Asks for spelling, stage and reason; says at the field why a spelling cannot be an alias."""

    class Meta:
        model = StageAlias
        fields = ("spelling", "stage", "reason")
        widgets = {"reason": forms.Textarea(attrs={"rows": 2})}

    def clean(self) -> dict[str, Any]:
        """Set the folded key, then refuse what `aliases.add` would refuse."""
        cleaned = super().clean() or {}
        if spelling := cleaned.get("spelling"):
            self.instance.key = fold(spelling)
            try:
                aliases.refuse_conflict(spelling, Stage(cleaned.get("stage", Stage.SEED)))
            except aliases.AliasRefused as error:
                self.add_error("spelling", str(error))
            if StageAlias.objects.filter(key=self.instance.key, retired_at__isnull=True).exists():
                self.add_error(
                    "spelling", "An alias for this spelling exists already; retire it first."
                )
        return cleaned


@admin.register(StageAlias)
class StageAliasAdmin(admin.ModelAdmin[StageAlias]):
    """Decided aliases. They are retired by an action, never edited, so that history stays true."""

    form = StageAliasForm
    list_display = ("spelling", "stage", "decided_by", "reason", "created_at", "retired_at")
    list_filter = ("stage", ("retired_at", admin.EmptyFieldListFilter))
    search_fields = ("spelling", "reason")
    actions = ("retire",)

    def has_change_permission(self, request: HttpRequest, obj: StageAlias | None = None) -> bool:
        """A decided alias is not edited; the list itself stays open for the action."""
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: StageAlias | None = None) -> bool:
        """Retire instead."""
        return False

    def save_model(self, request: HttpRequest, obj: StageAlias, form: Any, change: bool) -> None:
        """Record the alias through the one function that does."""
        added = aliases.add(
            obj.spelling, Stage(obj.stage), decided_by=_name(request.user), reason=obj.reason
        )
        obj.pk = added.pk

    @admin.action(description="Retire selected aliases", permissions=["change"])
    def retire(self, request: HttpRequest, queryset: QuerySet[StageAlias]) -> None:
        """Take the selected aliases out of force."""
        active = list(queryset.filter(retired_at__isnull=True))
        for alias in active:
            aliases.retire(alias, by=_name(request.user))
        self.message_user(request, f"{len(active)} aliases retired.", messages.SUCCESS)


@admin.register(ObservedSpelling)
class ObservedSpellingAdmin(LedgerAdmin):
    """What clients sent that was not canonical."""

    list_display = ("day", "spelling", "stage", "endpoint", "client", "count", "last_seen")
    list_filter = ("day", "endpoint", ("stage", admin.EmptyFieldListFilter))
    search_fields = ("spelling", "client")
    show_full_result_count = False


@admin.register(OutcomeTally)
class OutcomeTallyAdmin(LedgerAdmin):
    """Requests by outcome, a minute a row."""

    list_display = ("minute", "endpoint", "client", "mode", "outcome", "requests")
    list_filter = ("endpoint", "mode", "outcome")
    search_fields = ("client",)
    show_full_result_count = False


def _name(user: AbstractBaseUser | AnonymousUser) -> str:
    return user.get_username()
