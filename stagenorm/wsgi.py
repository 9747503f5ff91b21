"""The WSGI application: ``gunicorn stagenorm.wsgi``.

granian serves it through ``stagenorm.rsgi``, which reads each request body before Django runs.
"""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stagenorm.settings")
os.environ["STAGENORM_PROCESS"] = "web"

NOT_BOOTED = 3  # gunicorn does not restart a worker that exits with this status

try:
    application = get_wsgi_application()
except ImproperlyConfigured as fault:  # one line per variable; a traceback would hide them
    print(fault, file=sys.stderr)
    sys.exit(NOT_BOOTED)
