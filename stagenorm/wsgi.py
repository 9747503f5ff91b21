"""The WSGI application: ``gunicorn stagenorm.wsgi``. granian serves it through ``rsgi``, which reads bodies whole."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stagenorm.settings")
os.environ["STAGENORM_PROCESS"] = "web"

application = get_wsgi_application()
