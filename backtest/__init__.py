"""The live trader on stored bars."""
