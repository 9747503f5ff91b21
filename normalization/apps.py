from collections.abc import Iterable

from django.apps import AppConfig


class NormalizationConfig(AppConfig):
    name = "normalization"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks; in a web process, start the counters at 0 and the ticker."""
        from django.conf import settings

        from normalization import checks, readiness

        checks.register()
        readiness.register()
        if settings.SERVES_REQUESTS:
            self._serve(settings.STAGE_ENDPOINTS)

    def _serve(self, endpoints: Iterable[str]) -> None:
        from normalization import guard, metrics, observations, rollout_store
        from normalization.instance_reporter import reporter
        from normalization.ticker import ticker

        metrics.begin_at_zero(endpoints)
        ticker.add("guard", guard.guard.tick)
        ticker.add("observations", observations.flush)
        ticker.add("mode", rollout_store.show)
        ticker.add("instances", reporter.report)
        ticker.at_end(observations.flush)
        ticker.at_end(reporter.leave)
        rollout_store.after_load(ticker.ensure_running)
