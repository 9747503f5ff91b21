from django.apps import AppConfig


class NormalizationConfig(AppConfig):
    name = "normalization"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks and what /readyz asks; a web process exports its counters from its first moment."""
        from django.conf import settings

        from normalization import checks, metrics, readiness

        checks.register()
        readiness.register()
        if settings.SERVES_REQUESTS:
            metrics.begin_at_zero(settings.STAGE_ENDPOINTS)
