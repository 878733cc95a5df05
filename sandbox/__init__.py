"""The practice exchange: speaks enough Bybit v5 on loopback for the real clients to trade on it."""
