"""Logs: secrets are masked, and nothing else is."""

from __future__ import annotations

import json

import structlog

from dashboard import logs
from tests.commands import own_logging


def test_secrets_are_masked_and_a_letter_that_is_one_spoils_no_line(capsys):
    with own_logging():
        recent = logs.configure("json", "info", "paper", ["s", "hunter22", ""])
        structlog.get_logger().info("stored", candles_stored=0, address="postgres://me:hunter22@host/db")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["candles_stored"]) == ("stored", 0)
    assert line["address"] == "postgres://me:***@host/db"
    assert "hunter22" not in json.dumps(recent.lines(10))
