"""Admin pages of the platform: funds, companies, strategies and keys are edited, simulations and replays only read.

Nothing here costs more with more rows: foreign keys are chosen by search, related rows joined, lists counted once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from rest_framework_api_key.admin import APIKeyModelAdmin
from rest_framework_api_key.models import APIKey as UnusedKey

from normalization import decision_store, rollout_store
from normalization.admin import LedgerAdmin
from normalization.rollout import Mode
from normalization.stages import Known, Outside, normalize
from stagenorm.portfolio.models import (
    ApiKey,
    ApiKeyFund,
    Fund,
    IdempotencyRecord,
    PortfolioCompany,
    PortfolioStrategy,
    Simulation,
    StrategyStageAllocation,
)

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    _TabularInline = admin.TabularInline[Any, Any]
    _ModelForm = forms.ModelForm[Any]
else:  # only the stubs make the classes generic
    _ModelAdmin, _TabularInline, _ModelForm = (
        admin.ModelAdmin,
        admin.TabularInline,
        forms.ModelForm,
    )

# The library's own kind of key opens nothing here.
admin.site.unregister(UnusedKey)


@admin.register(Fund)
class FundAdmin(_ModelAdmin):
    """Funds."""

    list_display = ("id", "name", "vintage_year", "size_usd", "created_at")
    list_display_links = ("id", "name")
    search_fields = ("name",)
    ordering = ("name",)


class CompanyForm(_ModelForm):
    """Holds a stage that is typed in to the API's rules: an alias becomes canonical, enforce refuses an unknown."""

    def clean_stage(self) -> str:
        """Return the stage to store; an unchanged one stays as it is."""
        raw = str(self.cleaned_data["stage"])
        if "stage" not in self.changed_data:
            return raw
        result = normalize(raw, decision_store.current())
        if isinstance(result, Known):
            return result.stage.value
        if rollout_store.current().rollout.mode is Mode.ENFORCE:
            if isinstance(result, Outside):
                note = f": {result.note}" if result.note else ""
                raise forms.ValidationError(f"This stage is outside the six{note}.")
            meant = " or ".join(result.suggestions)
            raise forms.ValidationError(
                "This stage is not known." + (f" Did you mean {meant}?" if meant else "")
            )
        return raw


@admin.register(PortfolioCompany)
class PortfolioCompanyAdmin(_ModelAdmin):
    """Companies, by the hundred thousand."""

    form = CompanyForm
    list_display = (
        "id",
        "name",
        "fund",
        "stage",
        "status",
        "sector",
        "invested_usd",
        "invested_at",
    )
    list_display_links = ("id", "name")
    list_filter = ("status", "fund")
    list_select_related = ("fund",)
    search_fields = ("name",)
    search_help_text = "Part of the name."
    autocomplete_fields = ("fund",)
    readonly_fields = ("created_at", "updated_at")
    ordering = ("-id",)
    show_full_result_count = False


class StageAllocationInline(_TabularInline):
    """The weights of a strategy. They change through the API only, which sees to it that they sum to one."""

    model = StrategyStageAllocation
    fields = readonly_fields = ("position", "spelling", "stage", "weight")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Weights come with the strategy."""
        return False


@admin.register(PortfolioStrategy)
class PortfolioStrategyAdmin(_ModelAdmin):
    """Strategies."""

    list_display = ("id", "name", "fund", "model_type", "risk_tolerance", "client", "created_at")
    list_display_links = ("id", "name")
    list_filter = ("fund",)
    list_select_related = ("fund",)
    search_fields = ("name", "client")
    autocomplete_fields = ("fund",)
    readonly_fields = ("client", "created_at", "updated_at")
    ordering = ("-id",)
    show_full_result_count = False
    inlines = (StageAllocationInline,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A strategy needs its weights, which only the API takes."""
        return False


@admin.register(Simulation)
class SimulationAdmin(LedgerAdmin):
    """What was simulated."""

    list_display = ("id", "fund", "client", "profile", "seed", "created_at")
    list_filter = ("profile",)
    list_select_related = ("fund",)
    search_fields = ("id", "client")
    ordering = ("-created_at",)
    show_full_result_count = False


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(LedgerAdmin):
    """First answers that repeated requests are given again."""

    list_display = ("id", "client", "endpoint", "key", "status", "created_at")
    list_filter = ("endpoint",)
    search_fields = ("client", "key")
    ordering = ("-id",)
    show_full_result_count = False


class ApiKeyFundInline(_TabularInline):
    """The funds that a key is limited to."""

    model = ApiKeyFund
    autocomplete_fields = ("fund",)
    extra = 0


@admin.register(ApiKey)
class ApiKeyAdmin(APIKeyModelAdmin):
    """Keys of clients; a new one is shown once, on the page after it was saved."""

    # The library declares these tuples with its own lengths.
    list_display = (  # type: ignore[assignment]
        "prefix",
        "name",
        "read_only",
        "operator",
        "scope",
        "created",
        "expiry_date",
        "_has_expired",
        "revoked",
    )
    list_display_links = ("prefix", "name")
    list_filter = ("revoked", "read_only", "operator")  # type: ignore[assignment]
    inlines = (ApiKeyFundInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        """Return the keys with their funds."""
        return super().get_queryset(request).prefetch_related("funds")

    @admin.display(description="funds")
    def scope(self, key: ApiKey) -> str:
        """Name the funds that the key may see."""
        return ", ".join(fund.name for fund in key.funds.all()) or "all"
