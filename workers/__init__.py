"""History jobs and sweeps on Celery, for several machines."""
