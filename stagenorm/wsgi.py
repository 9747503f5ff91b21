"""The WSGI application: ``gunicorn stagenorm.wsgi``. granian serves it through ``rsgi``, which reads bodies whole."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stagenorm.settings")
os.environ["STAGENORM_PROCESS"] = "web"

NOT_BOOTED = 3  # what gunicorn takes for "do not start this worker again"

try:
    application = get_wsgi_application()
except ImproperlyConfigured as fault:  # one line for each variable; a traceback would hide them
    print(fault, file=sys.stderr)
    sys.exit(NOT_BOOTED)
