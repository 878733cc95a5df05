"""Learning: features of signals, phantoms, models."""
