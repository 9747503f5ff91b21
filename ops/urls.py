"""Addresses of the operator's pages, the rollout for programs, and the webhook."""

from django.contrib import admin
from django.urls import URLPattern, path

from ops import rollout_api
from ops.alerts import webhook
from ops.pages.clients.client import client_page
from ops.pages.clients.listing import clients_page
from ops.pages.home.page import home_page
from ops.pages.incidents.page import incident_json, incident_page, incidents_page
from ops.pages.letters.page import (
    PublicLetterView,
    end_letter_links,
    letter_csv,
    letter_page,
)
from ops.pages.rollout.page import back_to_warn, change_plan, next_step, rollout_page
from ops.pages.spellings.choosing import change_view, draft_view
from ops.pages.spellings.files import export_page, import_page
from ops.pages.spellings.packs import packs_page
from ops.pages.spellings.page import spellings_page
from ops.pages.spellings.preview import preview_page
from ops.pages.spellings.taking_back import history_page, retire_page, undo_page

urlpatterns: list[URLPattern] = [
    path("_ops/stage-validation/mode", rollout_api.RolloutModeView.as_view(), name="rollout-mode"),
    path("_ops/stage-validation/auto-downgrade", webhook.auto_downgrade, name="auto-downgrade"),
    path("_ops/stage-validation/heartbeat", webhook.heartbeat, name="heartbeat"),
    # Before the admin's own start page, whose name `admin:index` keeps its address.
    path("admin/", admin.site.admin_view(home_page), name="ops-home"),
    path("admin/ops/rollout/", admin.site.admin_view(rollout_page), name="ops-rollout"),
    path(
        "admin/ops/rollout/back-to-warn/",
        admin.site.admin_view(back_to_warn),
        name="ops-back-to-warn",
    ),
    path("admin/ops/rollout/next/", admin.site.admin_view(next_step), name="ops-next-step"),
    path("admin/ops/rollout/plan/", admin.site.admin_view(change_plan), name="ops-plan"),
    path("admin/ops/rollout/clients/", admin.site.admin_view(clients_page), name="ops-clients"),
    path(
        "admin/ops/rollout/clients/letter/", admin.site.admin_view(letter_page), name="ops-letter"
    ),
    path(
        "admin/ops/rollout/clients/letter/csv/",
        admin.site.admin_view(letter_csv),
        name="ops-letter-csv",
    ),
    path(
        "admin/ops/rollout/clients/letter/end/",
        admin.site.admin_view(end_letter_links),
        name="ops-letter-end",
    ),
    # Without a login: the token is the permission.
    path("letter", PublicLetterView.as_view(), name="letter"),
    path("admin/ops/incidents/", admin.site.admin_view(incidents_page), name="ops-incidents"),
    path(
        "admin/ops/incidents/<int:version>/",
        admin.site.admin_view(incident_page),
        name="ops-incident",
    ),
    path(
        "admin/ops/incidents/<int:version>/incident.json",
        admin.site.admin_view(incident_json),
        name="ops-incident-json",
    ),
    path("admin/ops/spellings/", admin.site.admin_view(spellings_page), name="ops-spellings"),
    # Not behind the login: a form that is sent after the session has ended keeps its choices.
    path("admin/ops/spellings/draft/", draft_view, name="ops-spellings-draft"),
    *(
        path(
            f"admin/ops/spellings/{name}/",
            admin.site.admin_view(view),
            name=f"ops-spellings-{name}",
        )
        for name, view in {
            "preview": preview_page,
            "change": change_view,
            "retire": retire_page,
            "undo": undo_page,
            "history": history_page,
            "export": export_page,
            "import": import_page,
            "packs": packs_page,
        }.items()
    ),
    path(
        "admin/ops/rollout/clients/client/", admin.site.admin_view(client_page), name="ops-client"
    ),
]
