from collections.abc import Iterator

from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "ops"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks; in a web process, start its counters and watch the way back."""
        from django.conf import settings

        from ops import checks
        from stagenorm import health

        checks.register()
        health.register_details(_preflight)
        if settings.SERVES_REQUESTS:
            self._serve()

    def _serve(self) -> None:
        from normalization.ticker import ticker
        from ops.alerts import way_back, webhook

        webhook.begin_at_zero()
        ticker.add("way back", way_back.watch.look)


def _preflight() -> Iterator[tuple[str, str]]:
    from ops import preflight  # commands that need no readiness do not load it

    return preflight.public_words()
