"""Asks what a first bot needs to know, and writes it into config.yaml and .env."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from commands.shared import SYMBOLS, AsJson, show
from domain.errors import ConfigError
from domain.lean import lazily
from domain.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    import settings as settings_module
    from app import initial_settings
else:
    settings_module, initial_settings = lazily("settings"), lazily("app.initial_settings")

SOURCES = [one.value for one in Source if one.practice or one.tradable or one.polled]
FOLDER = Path("user/strategies")
Text = Annotated[str | None, typer.Option(help="Answers the question of the same name.")]
Chosen = Annotated[str | None, typer.Option(*SYMBOLS, help="Answers the question about symbols.")]


class Questions:
    """Asks at the terminal; what was given as an option, or with ``yes`` the default, is not asked."""

    def __init__(self, given: dict[str, str | None], *, yes: bool) -> None:
        self._given, self._yes = given, yes
        self._out = Console(stderr=True, soft_wrap=True, highlight=False)

    def text(
        self, name: str, question: str, default: str = "", *, hidden: bool = False,
        refusal: Callable[[str], str] = lambda _: "",
    ) -> str:  # fmt: skip
        """Return an answer that ``refusal`` has nothing against; raises ConfigError for such an option."""
        given = self._given.get(name)
        if given is not None or self._yes:
            answer = default if given is None else given.strip()
            if reason := refusal(answer):
                # an address may hold a password
                shown = "" if hidden or "://" in answer else f" {answer}"
                raise ConfigError(f"--{name.replace('_', '-')}{shown}: {reason}")
            return answer
        while True:
            # what is piped in has no echo to be hidden
            hide = hidden and sys.stdin.isatty()
            answer = str(typer.prompt(question, default, hide_input=hide, show_default=bool(default), err=True)).strip()
            if not (reason := refusal(answer)):
                return answer
            self.say(f"  {reason}")

    def sure(self, question: str) -> bool:
        """Return whether something that is there may be changed."""
        return self._yes or typer.confirm(question, err=True)

    def say(self, text: str) -> None:
        """Tell something; stdout is for the report."""
        self._out.print(text)


def init(
    source: Text = None, mode: Text = None,
    symbols: Chosen = None, strategies: Text = None, telegram_token: Text = None,
    telegram_chat: Text = None, database_url: Text = None, redis_url: Text = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take defaults, change files that exist.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Ask what a bot needs, and write config.yaml and .env in this folder; nothing is changed without a question."""
    given = {
        "source": source, "mode": mode, "symbols": symbols, "strategies": strategies, "telegram_token": telegram_token,
        "telegram_chat": telegram_chat, "database_url": database_url, "redis_url": redis_url,
    }  # fmt: skip
    questions, folder = Questions(given, yes=yes), Path.cwd()
    answers = _asked(questions)
    made = initial_settings.draft(answers, folder)
    live = answers.configured["trading.mode"] == "live"
    keyless = (
        live and not {"BYBIT_API_KEY", "BYBIT_API_SECRET"} <= initial_settings.variables_of(made.environment).keys()
    )
    initial_settings.checked(made, folder, trading=not keyless)
    if not all(_may_change(questions, path, text) for path, text in made.files(folder).items()):
        raise ConfigError("nothing was written")
    body: dict[str, Any] = {"written": [str(path) for path in initial_settings.write(made, folder)]}
    if keyless:
        body["missing"] = "BYBIT_API_KEY and BYBIT_API_SECRET in .env"
    if beaten := initial_settings.beaten(answers, settings_module.setting_variables()):
        body["beaten"] = f"the environment sets {', '.join(beaten)}, which beats these files"
    body |= {"check": f"manage.py doctor{' --live' if live else ''}", "start": "make run, or python live_bot.py"}
    show(body, as_json)


def _asked(questions: Questions) -> initial_settings.Answers:
    source = Source(questions.text(
        "source", f"Where do prices come from ({', '.join(SOURCES)})", "synthetic",
        refusal=lambda one: "" if one in SOURCES else f"there are {', '.join(SOURCES)}",
    ))  # fmt: skip
    mode = "paper"
    if source.tradable:
        mode = questions.text(
            "mode", "Paper trading, or live with real orders (paper, live)", "paper",
            refusal=lambda one: "" if one in {"paper", "live"} else "it is paper or live",
        )  # fmt: skip
    configured: dict[str, Any] = {"source": source.value, "trading.mode": mode}
    symbols = _split(questions.text("symbols", "Symbols, such as BTC, ETH; empty for those with most turnover"))
    if symbols:
        configured["trading.symbols"] = symbols
    configured |= _strategies(questions, source)
    variables = _secrets(questions, live=mode == "live")
    return initial_settings.Answers(configured, variables)


def _strategies(questions: Questions, source: Source) -> dict[str, Any]:
    # loaded here: its libraries take a while, and the questions before need none
    from bootstrap import user_strategies  # noqa: PLC0415

    known = user_strategies.names(FOLDER)
    usual = "trend_pullback, mean_reversion, scalp" if source.practice else "breakout"
    chosen = _split(questions.text(
        "strategies", f"Strategies ({', '.join(known)})", usual,
        refusal=lambda one: next((f"there is no {name}" for name in _split(one) if name not in known), ""),
    ))  # fmt: skip
    if chosen == _split(usual):
        return {}
    found: dict[str, Any] = {}
    for name in known:
        ours = user_strategies.origin(FOLDER, name) == user_strategies.OURS
        if ours or name in chosen:
            found[f"strategies.{name}.enabled"] = name in chosen
        if name in chosen:
            found[f"strategies.{name}.markets"] = "all"
    return found


def _secrets(questions: Questions, *, live: bool) -> dict[str, str]:
    asked: dict[str, tuple[str, str, bool]] = {}
    schemes = {"DATABASE_URL": ("postgresql://", "postgres://", "sqlite:///"), "REDIS_URL": ("redis://", "rediss://")}
    if live:
        questions.say("Keys are read without being shown. Leave them empty to put them into .env later.")
        asked |= {
            "BYBIT_API_KEY": ("", "Bybit API key", True), "BYBIT_API_SECRET": ("", "Bybit API secret", True),
            "LIVE_CONFIRM": ("", "The account's uid, to confirm that real orders are wanted", False),
        }  # fmt: skip
    asked |= {
        "TELEGRAM_BOT_TOKEN": ("telegram_token", "Telegram bot token; empty for no chat", True),
        "TELEGRAM_CHAT_ID": ("telegram_chat", "Telegram chat id", False),
        "DATABASE_URL": ("database_url", "PostgreSQL address; empty for SQLite", False),
        "REDIS_URL": ("redis_url", "Redis address; empty for none", False),
    }
    found: dict[str, str] = {}
    for name, (option, question, hidden) in asked.items():
        if name == "TELEGRAM_CHAT_ID" and "TELEGRAM_BOT_TOKEN" not in found:
            continue
        if answer := questions.text(option, question, hidden=hidden, refusal=_of_scheme(schemes.get(name, ()))):
            found[name] = answer
    return found


def _of_scheme(schemes: tuple[str, ...]) -> Callable[[str], str]:
    ways = " or ".join(schemes)
    return lambda one: "" if not one or not schemes or one.startswith(schemes) else f"it begins with {ways}"


def _split(text: str) -> list[str]:
    return [part for part in text.replace(",", " ").split() if part]


def _may_change(questions: Questions, path: Path, text: str) -> bool:
    if not path.exists() or path.read_text() == text:
        return True
    return questions.sure(f"{path.name} is there already: change what was answered in it, and keep the rest?")
