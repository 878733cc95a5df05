"""Bybit: its REST interface, its private stream, and what they report, in our own terms."""

from broker.bybit.broker import BybitBroker
from broker.bybit.instruments import instrument as _instrument
from broker.bybit.messages import page_of

__all__ = ("BybitBroker", "_instrument", "page_of")
