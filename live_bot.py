"""The daemon: reads the settings, runs the bot, says with its exit code how it ended.

Exit codes: 0 stopped in good order, 2 the configuration must be changed, 70 an internal failure.
"""

from __future__ import annotations

import asyncio
import os
import sys

import settings as settings_module
from bootstrap import live, parts
from domain.errors import ConfigError


def main() -> int:
    """Run until stopped."""
    try:
        settings = settings_module.load()
        recent = parts.configure_logging(settings)
        return asyncio.run(live.run(settings, recent))
    except ConfigError as error:
        print(f"revenant cannot start:\n{error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # a thread stuck in a dead database must not keep a stopped bot alive
    os._exit(code)
