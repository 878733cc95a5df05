"""One module per kind of source."""

from domain.lean import lean

# ccxt imports its four hundred exchanges otherwise: seconds, and fifty megabytes
lean("ccxt", "ccxt.async_support", "ccxt.pro", shared=("ccxt.base.errors", "ccxt.base.exchange"))
