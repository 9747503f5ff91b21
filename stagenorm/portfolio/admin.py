"""Admin pages of the platform's models.

Funds, companies, strategies and keys are edited; simulations and stored answers are read-only. The
pages cost the same queries for any number of rows: foreign keys are chosen by search, related rows
are joined, and lists are counted once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from rest_framework_api_key.admin import APIKeyModelAdmin
from rest_framework_api_key.models import APIKey as UnusedKey

from normalization.admin import LedgerAdmin
from normalization.boundary import StagePolicy, policy_for, refusal_sentence
from normalization.fields import StageField
from normalization.stages import normalize, stage_name
from stagenorm.portfolio.imports_admin import CompanyImportAdmin
from stagenorm.portfolio.models import (
    ApiKey,
    ApiKeyFund,
    CompanyImport,
    Fund,
    IdempotencyRecord,
    PortfolioCompany,
    PortfolioStrategy,
    Simulation,
    StrategyStageAllocation,
)
from stagenorm.portfolio.simulation_page import simulation_page

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

# The endpoint and the client under which the rollout's lists (overrides, pilots, holdouts) name
# what people type into these forms.
ADMIN: Final = "admin"

# The library registers its own kind of key, which this service does not accept.
admin.site.unregister(UnusedKey)
admin.site.register(CompanyImport, CompanyImportAdmin)


@admin.register(Fund)
class FundAdmin(_ModelAdmin):
    """Funds."""

    list_display = ("id", "name", "vintage_year", "size_usd", "created_at")
    list_display_links = ("id", "name")
    search_fields = ("name",)
    ordering = ("name",)


class StageForm(_ModelForm):
    """Decides each stage of its model as an endpoint decides the stages of a request.

    The text is stored as it was typed, and beside it the stage that it means. A text without a
    stage is refused where the rollout enforces for endpoint `admin` and client `admin`. A stage
    that the form does not change stays as it is.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for source, stage in self._stages().items():
            self.fields[source].strip = False  # type: ignore[attr-defined]  # a CharField
            if self.initial.get(source) is None:  # no backfill has reached the row
                self.initial[source] = getattr(self.instance, stage)

    def clean(self) -> dict[str, Any]:
        """Derive the stage of each changed text; keep an unchanged text as it is stored."""
        cleaned = super().clean() or self.cleaned_data
        policy = policy_for(ADMIN, ADMIN)
        for source, stage in self._stages().items():
            if source not in self.changed_data:
                cleaned[source] = getattr(self.instance, source)
            elif source in cleaned:
                setattr(self.instance, stage, self._derived(source, cleaned[source], policy))
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        # A row that no backfill has reached has no text yet, and stays so.
        unchanged = self._stages().keys() - set(self.changed_data)
        return super()._get_validation_exclusions() | unchanged  # type: ignore[misc,no-any-return]

    def _stages(self) -> dict[str, str]:
        """Return the form's texts of stages, each with the field of the stage that it means."""
        fields = self._meta.model._meta.get_fields()
        return {
            each.source: each.name
            for each in fields
            if isinstance(each, StageField) and each.source in self.fields
        }

    def _derived(self, source: str, raw: str, policy: StagePolicy) -> str | None:
        result = normalize(raw, policy.table)
        if policy.refuses(result):
            self.add_error(source, refusal_sentence(result))
        return stage_name(result)


@admin.register(PortfolioCompany)
class PortfolioCompanyAdmin(_ModelAdmin):
    """Companies, by the hundred thousand."""

    form = StageForm
    list_display = (
        "id",
        "name",
        "fund",
        "written_stage",
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
    readonly_fields = ("stage", "created_at", "updated_at")
    ordering = ("-id",)
    show_full_result_count = False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save, and name a text that was stored without a stage."""
        super().save_model(request, obj, form, change)
        if "stage_raw" in form.changed_data and obj.stage is None:
            messages.warning(
                request,
                f"“{obj.stage_raw}” has no stage: it is undecided, or outside. The company is "
                "stored with this text. Decide it on the page Spellings.",
            )

    @admin.display(description="stage as written", ordering="stage_raw")
    def written_stage(self, company: PortfolioCompany) -> str | None:
        """The text of the stage."""
        return company.written_stage


class StageAllocationInline(_TabularInline):
    """The weights of a strategy, read-only: only the API changes them, and it checks their sum."""

    model = StrategyStageAllocation
    fields = readonly_fields = ("position", "spelling", "stage", "weight")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: the API creates weights together with their strategy."""
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
        """Refuse: a strategy needs weights, and only the API accepts those."""
        return False


@admin.register(Simulation)
class SimulationAdmin(LedgerAdmin):
    """Stored simulations. The page of one shows its charts."""

    change_form_template = "admin/portfolio/simulation/page.html"
    list_display = ("id", "fund", "client", "profile", "seed", "created_at")
    list_filter = ("profile",)
    list_select_related = ("fund",)
    search_fields = ("id", "client")
    ordering = ("-created_at",)
    show_full_result_count = False

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        """Add the page of the simulation to the context."""
        context["page"] = simulation_page(context["original"])
        return super().render_change_form(request, context, *args, **options)


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(LedgerAdmin):
    """Stored answers to requests with an `Idempotency-Key`."""

    list_display = ("id", "client", "endpoint", "key", "status", "created_at")
    list_filter = ("endpoint",)
    search_fields = ("client", "key")
    ordering = ("-id",)
    show_full_result_count = False


class ApiKeyFundInline(_TabularInline):
    """The funds a key is limited to."""

    model = ApiKeyFund
    autocomplete_fields = ("fund",)
    extra = 0


@admin.register(ApiKey)
class ApiKeyAdmin(APIKeyModelAdmin):
    """API keys of clients. The admin shows a new key once, on the page after saving."""

    # The library declares these tuples with fixed lengths.
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
        """List the funds the key may see."""
        return ", ".join(fund.name for fund in key.funds.all()) or "all"
