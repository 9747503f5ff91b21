from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "ops"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks; export the webhook's counter from the start of a web process."""
        from django.conf import settings

        from ops import checks

        checks.register()
        if settings.SERVES_REQUESTS:
            from ops.alerts import webhook

            webhook.begin_at_zero()
