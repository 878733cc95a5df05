"""Groups of the operator's commands."""
