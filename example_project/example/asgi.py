"""The ASGI entry point, for uvicorn and its like; serves the static files itself."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example.settings")
application = ASGIStaticFilesHandler(get_asgi_application())
