"""The proof: what dies, how often, and what was lost. ``python -m tests.torture --help`` runs it."""
