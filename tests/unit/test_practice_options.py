"""How the practice exchange is started."""

from bootstrap.parts import sandbox_process
from sandbox import __main__ as program
from tests.unit.test_settings import load


def arguments(tmp_path, monkeypatch, text):
    """Return what the program is started with, as its own parser reads it."""
    held = sandbox_process(load(tmp_path, text))
    served = []
    monkeypatch.setattr(program, "serve", served.append)
    monkeypatch.setattr(program.asyncio, "run", lambda _: None)
    assert program.main(held._arguments) == 0
    return held._arguments, served[0]


def test_what_is_set_reaches_the_practice_exchange(tmp_path, monkeypatch):
    _, options = arguments(
        tmp_path, monkeypatch, "sandbox: {quiet: 0.25, marked: [BSVUSDT=stock], now: true, speed: 60}"
    )
    assert (options.quiet, options.terms.marked, options.terms.now) == (0.25, ("BSVUSDT=stock",), True)
    assert options.terms.speed == 1.0


def test_without_being_asked_it_is_started_as_it_always_was(tmp_path, monkeypatch):
    """Other arguments would start a running one anew."""
    given, options = arguments(tmp_path, monkeypatch, "sandbox: {speed: 60}")
    assert not {"--quiet", "--mark", "--now"} & set(given)
    assert (options.quiet, options.terms.marked, options.terms.now) == (0.0, (), False)


def test_now_goes_with_made_up_markets_only(capsys):
    for other in (["--step"], ["--replay", "BTC.csv"]):
        assert program.main(["--now", *other]) == program.USAGE
    assert "sandbox.now" in capsys.readouterr().err
