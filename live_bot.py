"""The daemon: reads the settings, runs the bot, says with its exit code how it ended.

It takes no arguments: what it does is said by config.yaml and the environment (see manage.py show-config), how it is
steered by manage.py, the page and Telegram.

Exit codes: 0 stopped in good order, 2 the configuration must be changed, 70 an internal failure, 75 something that may
pass, such as a disk, does not let it start now.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING

import structlog

import settings as settings_module
from bootstrap import parts
from daemon import live
from domain.errors import ConfigError, Unavailable
from domain.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until stopped; ``arguments`` are those of the command line, which only ask what this is."""
    # whoever asks for help, or believes that it takes orders, must not have started to trade
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"revenant {VERSION}")
    parser.parse_args(arguments)
    # whatever the shell or the unit says: journal, databases, keys and notes are their owner's alone
    os.umask(0o077)
    try:
        settings = settings_module.load()
        recent = parts.configure_logging(settings)
        for line in settings_module.unknown_variables():
            structlog.get_logger(__name__).warning("unknown variable", said=line)
        return asyncio.run(live.run(settings, recent))
    except ConfigError as error:
        print(f"revenant cannot start:\n{error}", file=sys.stderr)
        return 2
    except Unavailable as error:
        print(f"revenant cannot start now, start it again:\n{error}", file=sys.stderr)
        return 75


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # a thread stuck in a dead database must not keep a stopped bot alive
    os._exit(code)
