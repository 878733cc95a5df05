"""Builds the parts of a bot from its settings and ties them together."""
