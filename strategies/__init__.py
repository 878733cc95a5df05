"""Pure decisions on closed bars."""
