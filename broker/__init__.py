"""Where orders go: Bybit (or its practice twin), or paper."""
