"""The regular jobs of history on Celery, for several machines: ``celery -A worker worker -B``."""

from __future__ import annotations

import settings as settings_module
from bootstrap.celery_app import make_app

app = make_app(settings_module.load())
