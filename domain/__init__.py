"""Types and rules of trading; nothing here does I/O or reads a clock."""
