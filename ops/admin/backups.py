"""Backups and their checks in the admin: validity, reasons, remedies and measured restore time."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from ops import clock
from ops.admin_ui.ledgers import (
    BAD,
    GOOD,
    QUIET,
    WARN,
    Badge,
    ChoiceFilter,
    OperatorLedger,
    PagedLedger,
    cell,
    spoken,
    verdict_badge,
)
from ops.backups import history
from ops.backups.history import JudgedBackup
from ops.backups.models import Backup, BackupCheck
from ops.backups.source import own_identity
from ops.gates.backup_rule import (
    BACKUP_MAX_AGE,
    CHECK_COMMANDS,
    BackupState,
    CheckKind,
    CheckVerdict,
)
from ops.gates.rules import GateOutcome

NEVER: Final = Badge("never", *WARN)
STATE_BADGES: Final = {
    BackupState.VALID: Badge("valid", *GOOD),
    BackupState.TOUCHED: Badge("files touched", *WARN),
    BackupState.ELSEWHERE: Badge("on another host", *WARN),
    BackupState.UNREADABLE: Badge("files unreadable", *WARN),
    BackupState.CHANGED: Badge("files changed", *BAD),
    BackupState.MISSING: Badge("files missing", *BAD),
    BackupState.FAILED: Badge("failed", *BAD),
    BackupState.UNCHECKED: Badge("not checked yet", *WARN),
    BackupState.FOREIGN: Badge("of another database", *QUIET),
    BackupState.PRUNED: Badge("removed", "quiet", "–"),
}
GATE_BADGES: Final = {
    GateOutcome.PASS: Badge("open", *GOOD),
    GateOutcome.FAIL: Badge("closed", *BAD),
    GateOutcome.INCONCLUSIVE: Badge("inconclusive", *WARN),
}


class KeptFilter(admin.SimpleListFilter):
    """Backups on disk by default; removed ones apart."""

    title, parameter_name = "kept", "kept"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, str]]:
        """Return the choices besides the default."""
        return [("pruned", "Removed"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        """Name the default choice."""
        first, *others = super().choices(changelist)
        return [{**first, "display": "Kept"}, *others]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the chosen backups."""
        if self.value() == "all":
            return queryset
        return queryset.filter(pruned_at__isnull=self.value() != "pruned")


@admin.register(Backup)
class BackupAdmin(PagedLedger):
    """Backups and their validity."""

    noun = "backup"
    list_display = ("taken", "state", "verified", "restored", "large", "place")
    list_display_links = None
    list_filter = (KeptFilter,)
    list_per_page = 50
    ordering = ("-snapshot_at", "-id")
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Backup]:
        """Prefetch the checks, which decide the validity; defer the large facts."""
        return Backup.objects.defer("facts").prefetch_related("checks")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and the gate's verdict above it."""
        answer = super().changelist_view(request, extra_context)
        if not isinstance(answer, TemplateResponse):
            return answer
        context = answer.context_data
        if context and "cl" in context:
            lines = context["cl"].result_list
            own, now = own_identity(), clock.database_now()
            for backup in lines:
                backup.judged = history.judge(backup, own, now)
            context.update(_summary([backup.judged for backup in lines]))
        return answer

    @admin.display(description="snapshot (UTC)", ordering="snapshot_at")
    def taken(self, backup: Backup) -> str:
        """Show when the snapshot was taken, its age, and the link to its page."""
        return cell("snapshot", backup=backup, age=spoken(_judged(backup).validity.age_seconds))

    @admin.display(description="state")
    def state(self, backup: Backup) -> str:
        """Show the validity, the reason and the remedy."""
        found = _judged(backup).validity
        if found.state is BackupState.VALID:
            return cell("validity", badge=STATE_BADGES[found.state])
        reason = found.sentence.removeprefix(f"{backup.name} ")
        badge = STATE_BADGES[found.state]
        return cell("validity", badge=badge, reason=reason, remedy=found.remedy)

    @admin.display(description="verify")
    def verified(self, backup: Backup) -> str:
        """Show the last verification."""
        return _verdict(_judged(backup), CheckKind.VERIFY)

    @admin.display(description="restore test")
    def restored(self, backup: Backup) -> str:
        """Show the last drill."""
        return _verdict(_judged(backup), CheckKind.RESTORE)

    @admin.display(description="size")
    def large(self, backup: Backup) -> str:
        """Show the size of the dump, and how long it took."""
        return cell("size", size=backup.size, took=spoken(backup.seconds))

    @admin.display(description="where")
    def place(self, backup: Backup) -> str:
        """Show the host, and when the backup was removed."""
        return cell("place", backup=backup)

    def objects_for_page(self) -> QuerySet[Backup]:
        """Return the backups with their checks, which decide the validity."""
        return Backup.objects.prefetch_related("checks")

    def show(self, request: HttpRequest, backup: Backup, /) -> HttpResponse:
        """Show one backup with its checks, oldest first."""
        judged = history.judge(backup, own_identity(), clock.database_now())
        title = f"Backup of {backup.snapshot_at:%-d %b %Y %H:%M:%S}"
        context = {"title": title, **_page(judged)}
        return self.page(request, "admin/ops/backup/backup.html", context)


def _judged(backup: Backup) -> JudgedBackup:
    return backup.judged  # type: ignore[attr-defined,no-any-return]  # set in changelist_view


def _page(judged: JudgedBackup) -> dict[str, Any]:
    """Return the context of the page of one backup."""
    backup, validity = judged.backup, judged.validity
    checks = [
        (check, verdict_badge(check.verdict), spoken(check.seconds)) for check in judged.checks
    ]
    return {
        "backup": backup,
        "badge": STATE_BADGES[validity.state],
        "validity": validity,
        "age": spoken(validity.age_seconds),
        "restore_time": _restore_time([judged]),
        "took": spoken(backup.seconds),
        "checks": checks,
        "tables": sorted(backup.facts.get("tables", {}).items()),
        "commands": {kind.value: command for kind, command in CHECK_COMMANDS.items()},
    }


def _verdict(judged: JudgedBackup, kind: CheckKind) -> str:
    check = judged.last(kind)
    if check is None:
        return cell("verdict", badge=NEVER)
    passed = check.verdict == CheckVerdict.PASSED
    repeated = passed or check.reason in judged.validity.sentence
    return cell(
        "verdict",
        badge=verdict_badge(check.verdict),
        took=spoken(check.seconds),
        at=check.checked_at,
        reason="" if repeated else check.reason,
    )


def _summary(lines: list[JudgedBackup]) -> dict[str, Any]:
    """Return the gate's verdict, how long it stays open, and the measured restore time (RTO)."""
    verdict = history.backup_verdict(read_files=False)
    closes_in = ""
    if verdict.outcome is GateOutcome.PASS:
        age = verdict.evidence["age_seconds"]
        closes_in = spoken(BACKUP_MAX_AGE.total_seconds() - age)
    return {
        "gate": GATE_BADGES[verdict.outcome],
        "verdict": verdict,
        "closes_in": closes_in,
        "restore_time": _restore_time(lines),
    }


def _restore_time(lines: list[JudgedBackup]) -> str | None:
    measured = (line.restore_seconds for line in lines)
    seconds = next((each for each in measured if each is not None), None)
    return None if seconds is None else spoken(seconds)


class KindFilter(ChoiceFilter):
    """Checks of one kind."""

    title, parameter_name, words = "kind", "kind", tuple(CheckKind)


class VerdictFilter(ChoiceFilter):
    """Checks with one verdict."""

    title, parameter_name, words = "verdict", "verdict", tuple(CheckVerdict)


@admin.register(BackupCheck)
class BackupCheckAdmin(OperatorLedger):
    """The ledger of checks, newest first."""

    list_display = (
        "checked",
        "kind",
        "result",
        "reason",
        "of_backup",
        "took",
        "checked_by",
        "host",
    )
    list_filter = (KindFilter, VerdictFilter)
    list_select_related = ("backup",)
    ordering = ("-id",)
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackupCheck]:
        """Leave the large facts of the backups in the database."""
        return BackupCheck.objects.select_related("backup").defer("backup__facts")

    @admin.display(description="when (UTC)", ordering="checked_at")
    def checked(self, check: BackupCheck) -> str:
        """Show when the check ended."""
        return cell("moment", at=check.checked_at)

    @admin.display(description="verdict")
    def result(self, check: BackupCheck) -> str:
        """Show the verdict."""
        return cell("state", badge=verdict_badge(check.verdict))

    @admin.display(description="backup")
    def of_backup(self, check: BackupCheck) -> str:
        """Show the link to the backup's page."""
        return cell("of_backup", backup=check.backup)

    @admin.display(description="took")
    def took(self, check: BackupCheck) -> str:
        """Show how long the check took."""
        return spoken(check.seconds)
