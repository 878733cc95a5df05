"""The page, its API, metrics, health and the log."""
