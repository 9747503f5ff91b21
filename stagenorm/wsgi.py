"""The WSGI application: ``granian --interface wsgi stagenorm.wsgi:application``, or ``gunicorn stagenorm.wsgi``."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stagenorm.settings")
os.environ["STAGENORM_PROCESS"] = "web"

application = get_wsgi_application()
