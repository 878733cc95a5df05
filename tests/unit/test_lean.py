"""Of ccxt only the exchanges that are used are imported, and they are the same as of the whole."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def told(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_one_exchange_is_imported_and_not_all_of_them():
    code = """
import sys, broker.client as client
print(sum(name.startswith("ccxt.") for name in sys.modules) < 60, client.BybitClient.__module__)
"""
    assert told(code) == "True broker.bybit.rest"


def test_what_is_imported_is_what_the_whole_has():
    code = """
import broker, ccxt, ccxt.async_support, ccxt.pro, ccxt.base.errors as errors
assert ccxt.RateLimitExceeded is ccxt.async_support.RateLimitExceeded is errors.RateLimitExceeded
assert issubclass(ccxt.pro.bybit, ccxt.async_support.bybit)
assert ccxt.async_support.binance().id == "binance"
try:
    ccxt.no_such_exchange
except AttributeError as error:
    print(error)
"""
    assert told(code) == "ccxt has no no_such_exchange"


def test_a_package_that_is_there_already_stays_as_it_is():
    assert told("import ccxt.pro; import broker; print(len(ccxt.exchanges) > 50)") == "True"
