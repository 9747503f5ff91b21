"""The WSGI application: ``gunicorn stagenorm.wsgi``.

granian serves it through ``stagenorm.rsgi``, which reads each request body before Django runs.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stagenorm.settings")
os.environ["STAGENORM_PROCESS"] = "web"

Environ = dict[str, Any]

NOT_BOOTED = 3  # gunicorn does not restart a worker that exits with this status


def stop_on_faults() -> None:
    """Run the system checks, without those of the database; exit if one reports an error.

    Operator commands run none of them. The checks also load the URL configuration, so that the
    first request does not wait for it.
    """
    found = run_checks()
    for message in found:
        print(message, file=sys.stderr)
    if any(message.is_serious() for message in found):
        sys.exit(NOT_BOOTED)


def below(prefix: str, handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return the WSGI application that takes `prefix` off a path that begins with it.

    A proxy that took it off already, and a probe from inside, send the path without it.
    """
    start = f"{prefix}/"

    def serve(environ: Environ, start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        if path == prefix or path.startswith(start):
            environ["PATH_INFO"] = path[len(prefix) :] or "/"
        return handler(environ, start_response)

    return serve


try:
    application: Callable[..., Any] = get_wsgi_application()
    if settings.SCRIPT_NAME:
        application = below(settings.SCRIPT_NAME, application)
    stop_on_faults()
except ImproperlyConfigured as fault:  # one line per variable; a traceback would hide them
    print(fault, file=sys.stderr)
    sys.exit(NOT_BOOTED)
