"""The WSGI application: ``gunicorn stagenorm.wsgi``.

granian serves it through ``stagenorm.rsgi``, which reads each request body before Django runs.
"""

import os
import sys

from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stagenorm.settings")
os.environ["STAGENORM_PROCESS"] = "web"

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


try:
    application = get_wsgi_application()
    stop_on_faults()
except ImproperlyConfigured as fault:  # one line per variable; a traceback would hide them
    print(fault, file=sys.stderr)
    sys.exit(NOT_BOOTED)
