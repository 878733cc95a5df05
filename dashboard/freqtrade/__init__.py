"""The API under freqtrade's paths and in its shapes, for FreqUI and freqtrade-client."""
