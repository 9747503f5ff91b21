"""Backups and their checks in the admin: which count, why the others do not, and how long a restore takes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from ops.admin.backup_state import JudgedBackup
from ops.admin_ui.ledgers import (
    BAD,
    GOOD,
    WARN,
    Badge,
    ChoiceFilter,
    OperatorLedger,
    cell,
    spoken,
    verdict_badge,
)
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import CheckKind, CheckVerdict
from ops.backups.source import own_identity
from ops.clock import database_now
from ops.gates.rules import BACKUP_MAX_AGE

NEVER = Badge("never", *WARN)
MAX_AGE_SECONDS = BACKUP_MAX_AGE.total_seconds()


class KeptFilter(admin.SimpleListFilter):
    """Backups that are there; those taken away are apart."""

    title, parameter_name = "kept", "kept"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, str]]:
        """Besides the default, which is what is there."""
        return [("pruned", "Taken away"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        """Call the default by its name."""
        first, *others = super().choices(changelist)
        return [{**first, "display": "There"}, *others]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The chosen ones."""
        return (
            queryset
            if self.value() == "all"
            else queryset.filter(pruned_at__isnull=self.value() != "pruned")
        )


@admin.register(Backup)
class BackupAdmin(OperatorLedger):
    """Backups, and which of them count."""

    list_display = ("taken", "counts", "verified", "restored", "large", "place")
    list_display_links = None
    list_filter = (KeptFilter,)
    list_per_page = 50
    ordering = ("-snapshot_at", "-id")
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Backup]:
        """Fetch the checks along: each line is judged by them. What is compared in a drill stays in the database."""
        return Backup.objects.defer("facts").prefetch_related("checks")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, and above it what the gate wants to know."""
        answer = super().changelist_view(request, extra_context)
        if (
            isinstance(answer, TemplateResponse)
            and answer.context_data
            and "cl" in answer.context_data
        ):
            lines = answer.context_data["cl"].result_list
            own, now = own_identity(), database_now()
            for backup in lines:
                backup.judged = JudgedBackup(backup, own, now)
            answer.context_data.update(_summary([backup.judged for backup in lines]))
        return answer

    @admin.display(description="snapshot (UTC)")
    def taken(self, backup: Backup) -> str:
        """When, how old, and the way to its page."""
        return cell("snapshot", backup=backup, age=spoken(_judged(backup).age_seconds))

    @admin.display(description="counts")
    def counts(self, backup: Backup) -> str:
        """Whether it counts, and why not."""
        badge, found = _judged(backup).state
        reason = "" if badge.tone == "good" else found.reason.removeprefix(f"{backup.name} ")
        return cell("counts", badge=badge, reason=reason, remedy=found.remedy)

    @admin.display(description="verify")
    def verified(self, backup: Backup) -> str:
        """The last look at its bytes."""
        return _verdict(_judged(backup), CheckKind.VERIFY)

    @admin.display(description="restore test")
    def restored(self, backup: Backup) -> str:
        """The last drill."""
        return _verdict(_judged(backup), CheckKind.RESTORE)

    @admin.display(description="size")
    def large(self, backup: Backup) -> str:
        """Bytes of the dump, and how long it took."""
        return cell("size", size=backup.size, took=spoken(backup.seconds))

    @admin.display(description="where")
    def place(self, backup: Backup) -> str:
        """Host and directory."""
        return cell("place", backup=backup)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One backup with its checks, oldest first."""
        if request.method == "POST" or not self.has_view_permission(request):
            raise PermissionDenied
        found = (
            Backup.objects.prefetch_related("checks").filter(pk=object_id).first()
            if object_id.isdecimal()
            else None
        )
        if found is None:
            raise Http404(f"There is no backup {object_id}.")
        judged = JudgedBackup(found, own_identity(), database_now())
        badge, state = judged.state
        seconds = judged.restore_seconds
        context = {
            **self.admin_site.each_context(request),
            "title": f"Backup of {found.snapshot_at:%Y-%m-%d %H:%M:%S}",
            "opts": self.opts,
            "media": self.media,
            "backup": found,
            "badge": badge,
            "state": state,
            "age": spoken(judged.age_seconds),
            "restore_time": None if seconds is None else spoken(seconds),
            "took": spoken(found.seconds),
            "checks": [
                (check, verdict_badge(check.verdict), spoken(check.seconds))
                for check in judged.checks
            ],
            "tables": sorted(found.facts.get("tables", {}).items()),
        }
        return TemplateResponse(request, "admin/ops/backup/backup.html", context)


def _judged(backup: Backup) -> JudgedBackup:
    return backup.judged  # type: ignore[attr-defined,no-any-return]  # set by the list's view, for the page at once


def _verdict(judged: JudgedBackup, kind: CheckKind) -> str:
    check = judged.last(kind)
    if check is None:
        return cell("verdict", badge=NEVER)
    told = check.verdict == CheckVerdict.PASSED or check.reason in judged.state[1].reason
    return cell(
        "verdict",
        badge=verdict_badge(check.verdict),
        took=spoken(check.seconds),
        at=check.checked_at,
        reason="" if told else check.reason,
    )


def _summary(lines: list[JudgedBackup]) -> dict[str, Any]:
    """The newest backup that counts, what the gate would say, and the measured restore time (RTO)."""
    newest = next((line for line in lines if line.state[0].tone == "good"), None)
    seconds = next(
        (line.restore_seconds for line in lines if line.restore_seconds is not None), None
    )
    fresh = newest is not None and _fresh(newest)
    return {
        "newest": newest,
        "newest_age": spoken(newest.age_seconds) if newest else "",
        "gate": _gate(fresh, any(line.unsure and _fresh(line) for line in lines)),
        "fresh": fresh,
        "closes_in": spoken(MAX_AGE_SECONDS - newest.age_seconds) if newest and fresh else "",
        "restore_time": None if seconds is None else spoken(seconds),
    }


def _fresh(line: JudgedBackup) -> bool:
    return 0 <= line.age_seconds < MAX_AGE_SECONDS


def _gate(fresh: bool, unsure: bool) -> Badge:
    if fresh:
        return Badge("open", *GOOD)
    return Badge("open only if the file is whole", *WARN) if unsure else Badge("closed", *BAD)


class KindFilter(ChoiceFilter):
    """Checks of one kind."""

    title, parameter_name, words = "kind", "kind", tuple(CheckKind)


class VerdictFilter(ChoiceFilter):
    """Checks with one verdict."""

    title, parameter_name, words = "verdict", "verdict", tuple(CheckVerdict)


@admin.register(BackupCheck)
class BackupCheckAdmin(OperatorLedger):
    """The ledger of checks, newest first."""

    list_display = ("checked", "kind", "said", "reason", "of_backup", "took", "checked_by", "host")
    list_filter = (KindFilter, VerdictFilter)
    list_select_related = ("backup",)
    ordering = ("-id",)
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackupCheck]:
        """Leave what is compared in a drill in the database."""
        return BackupCheck.objects.select_related("backup").defer("backup__facts")

    @admin.display(description="when (UTC)")
    def checked(self, check: BackupCheck) -> str:
        """When."""
        return cell("moment", at=check.checked_at)

    @admin.display(description="verdict")
    def said(self, check: BackupCheck) -> str:
        """The verdict."""
        return cell("state", badge=verdict_badge(check.verdict))

    @admin.display(description="backup")
    def of_backup(self, check: BackupCheck) -> str:
        """The way to the backup's page."""
        return cell("of_backup", backup=check.backup)

    @admin.display(description="took")
    def took(self, check: BackupCheck) -> str:
        """How long it took."""
        return spoken(check.seconds)
