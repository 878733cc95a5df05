"""Where things rest: candles, trades, the journal."""
