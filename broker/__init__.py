"""Where orders go: Bybit (or its practice twin), or paper."""

from domain.lean import lean

# ccxt imports its four hundred exchanges otherwise: seconds, and fifty megabytes
lean("ccxt", "ccxt.async_support", "ccxt.pro", shared=("ccxt.base.errors", "ccxt.base.exchange"))
