"""Years of candles from many sources: fetched, checked, mended, kept."""
