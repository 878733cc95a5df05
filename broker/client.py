"""Bybit's REST client under its older name."""

from broker.bybit.messages import page_of
from broker.bybit.rest import EXITS_RESERVE, BybitClient, Endpoint, _translated

__all__ = ("EXITS_RESERVE", "BybitClient", "Endpoint", "_translated", "page_of")
