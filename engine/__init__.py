"""The trading engine: a synchronous core that decides, and an asynchronous shell that acts."""
