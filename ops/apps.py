from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "ops"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """A web process exports the webhook's counter from its first moment."""
        from django.conf import settings

        from ops.alerts import metrics

        if settings.SERVES_REQUESTS:
            metrics.begin_at_zero()
