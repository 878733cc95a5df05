"""Programs of other people that trade on the practice exchange, each in an environment of its own."""
