"""The regular jobs of history on Celery, for several machines: ``celery -A worker worker -B``."""

from __future__ import annotations

import os

import settings as settings_module
from workers.celery_app import leave_signs, make_app

os.umask(0o077)
app = make_app(settings_module.load(trading=False))
leave_signs(app)
