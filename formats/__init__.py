"""Candle files: what is written in them, as bars, and bars as files; nothing here knows where they rest."""
