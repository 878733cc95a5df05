"""The daemon as a fresh process, with the strategy that trades all the time."""

import os
import sys
from pathlib import Path

import live_bot
from tests.torture import world

if __name__ == "__main__":
    world.learn_churn()
    here = world.World.__new__(world.World)
    here.acks = Path(sys.argv[1])
    here.log_acknowledgements()
    os._exit(live_bot.main([]))
