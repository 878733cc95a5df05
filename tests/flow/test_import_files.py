"""Files of all shapes that people have: each is read right, or refused with a word; none is silently wrong."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from domain.candle import Bars, Series
from domain.source import Source
from tests.commands import Commands
from tests.venues import walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from persistence.history import CandleHistory

START, HOUR, DAY = 1_704_067_200_000, 3_600_000, 86_400_000
COUNT = 40
NAMES = ("timestamp", "open", "high", "low", "close", "volume")


def truth(seed: int, step: int = HOUR) -> Bars:
    return walk(
        COUNT, START, step, seed, price=float(np.random.default_rng(seed).choice([0.5, 40.0, 2_000.0, 42_000.0]))
    )


def text(ms: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return pd.Timestamp(ms, unit="ms").strftime(form)


def csv(rows: list[Any], header: str = ",".join(NAMES), sep: str = ",") -> bytes:
    lines = ([header.replace(",", sep)] if header else []) + [sep.join(map(str, row)) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def plain(bars: Bars) -> list[list[Any]]:
    return [list(row[:6]) for row in bars.rows()]


def binance(bars: Bars, step: int = HOUR) -> list[list[Any]]:
    return [
        [r[0], *map(str, r[1:6]), r[0] + step - 1, str(r[6]), 7, "1", "2", "0"] for r in bars.rows()
    ]  # fmt: skip


def packed(raw: bytes, name: str = "x.csv") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as held:
        held.writestr(name, raw)
    return out.getvalue()


def frame(bars: Bars) -> pd.DataFrame:
    return bars.to_frame().reset_index().rename(columns={"timestamp": "date"})


def arrow(table: pd.DataFrame, kind: str) -> bytes:
    out = io.BytesIO()
    table.to_feather(out) if kind == "feather" else table.to_parquet(out)
    return out.getvalue()


def dates(bars: Bars, form: str, rest: Callable[[list[Any]], list[Any]] = lambda row: row[1:6]) -> list[list[Any]]:
    return [[text(row[0], form), *rest(list(row))] for row in bars.rows()]


def body(rows: list[Any], **more: Any) -> bytes:
    return json.dumps({"retCode": 0, "result": {"list": rows}, **more} if not more else {**more, "data": rows}).encode()


# what people have: the file's ending, its bytes, and how many of the bars are to be stored (the newest of an answer
# that does not tell whether it was finished is not)
SHAPES: dict[str, tuple[str, Callable[[Bars], bytes], int]] = {
    "plain": ("csv", lambda b: csv(plain(b)), COUNT),
    "capital ending": ("CSV", lambda b: csv(plain(b)), COUNT),
    "byte order mark": ("csv", lambda b: b"\xef\xbb\xbf" + csv(plain(b)), COUNT),
    "no header, with mark": ("csv", lambda b: b"\xef\xbb\xbf" + csv(plain(b), ""), COUNT),
    "carriage returns": ("csv", lambda b: csv(plain(b)).replace(b"\n", b"\r\n"), COUNT),
    "returns only": ("csv", lambda b: csv(plain(b)).replace(b"\n", b"\r"), COUNT),
    "utf-16": ("csv", lambda b: csv(plain(b)).decode().encode("utf-16"), COUNT),
    "semicolons": ("csv", lambda b: csv(plain(b), sep=";"), COUNT),
    "decimal commas": ("csv", lambda b: csv(plain(b), sep=";").replace(b".", b","), COUNT),
    "tabs": ("csv", lambda b: csv(plain(b), sep="\t"), COUNT),
    "gzip": ("csv.gz", lambda b: gzip.compress(csv(plain(b))), COUNT),
    "newest first": ("csv", lambda b: csv(plain(b)[::-1]), COUNT),
    "Vol": ("csv", lambda b: csv(plain(b), "Date,Open,High,Low,Close,Vol"), COUNT),
    "Yahoo": ("csv", lambda b: csv(
        dates(b, "%Y-%m-%d %H:%M:%S+00:00", lambda r: [*r[1:5], r[4] * 0.9, r[5]]),
        "Datetime,Open,High,Low,Close,Adj Close,Volume"), COUNT),
    "index without a name": ("csv", lambda b: csv(dates(b, "%Y-%m-%d %H:%M:%S"), ",Open,High,Low,Close,Volume"), COUNT),
    "MetaTrader": ("csv", lambda b: csv(
        [[text(r[0], "%Y.%m.%d"), text(r[0], "%H:%M"), *r[1:6]] for r in b.rows()],
        "Date,Time,Open,High,Low,Close,Volume"), COUNT),
    "MetaTrader 5": ("csv", lambda b: csv(
        [[text(r[0], "%Y.%m.%d"), text(r[0], "%H:%M:%S"), *r[1:6], 0, 1] for r in b.rows()],
        "<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>,<VOL0>,<SPREAD>", "\t"), COUNT),
    "TradeStation": ("csv", lambda b: csv(
        [[text(r[0], "%Y-%m-%d"), text(r[0], "%H%M"), *r[1:6]] for r in b.rows()],
        "Date,Time,Open,High,Low,Close,Vol"), COUNT),
    "CryptoDataDownload": ("csv", lambda b: b"https://www.CryptoDataDownload.com\n" + csv(
        [[r[0] // 1000, text(r[0]), "BTCUSDT", *r[1:5], r[5], r[6], 5] for r in b.rows()[::-1]],
        "Unix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount"), COUNT),
    "CoinMarketCap": ("csv", lambda b: csv(
        [[text(r[0], "%Y-%m-%dT%H:%M:%S.000Z"), text(r[0] + HOUR - 1, "%Y-%m-%dT%H:%M:%S.999Z"), *r[1:6], 1,
          text(r[0] + HOUR - 1, "%Y-%m-%dT%H:%M:%S.999Z")] for r in b.rows()],
        "timeOpen,timeClose,open,high,low,close,volume,marketCap,timestamp", ";"), COUNT),
    "fetched at": ("csv", lambda b: csv(
        [[START + 10**9, text(r[0]), *r[1:6]] for r in b.rows()], "timestamp,date,open,high,low,close,volume"), COUNT),
    "offsets": ("csv", lambda b: csv([[text(r[0] - 5 * HOUR) + "-05:00", *r[1:6]] for r in b.rows()]), COUNT),
    "one number": ("csv", lambda b: csv(dates(b, "%Y%m%d%H%M")), COUNT),
    "TradingView seed": ("csv", lambda b: csv(dates(b, "%Y%m%dT"), "time,open,high,low,close,volume"), COUNT),
    "seconds": ("csv", lambda b: csv([[r[0] / 1000, *r[1:]] for r in plain(b)]), COUNT),
    "Binance archive": ("zip", lambda b: packed(csv(binance(b), "")), COUNT),
    "Binance archive in microseconds": ("zip", lambda b: packed(csv(
        [[r[0] * 1000, *r[1:6], r[6] * 1000 + 999, *r[7:]] for r in binance(b)], "")), COUNT),
    "Binance JSON": ("json", lambda b: json.dumps(binance(b)).encode(), COUNT - 1),
    "Bybit oldest first": ("json", lambda b: body([[str(v) for v in r] for r in b.rows()]), COUNT - 1),
    "Bybit": ("json", lambda b: body([[str(v) for v in r] for r in b.rows()[::-1]]), COUNT - 1),
    "Bybit csv": ("csv", lambda b: csv(b.rows(), ""), COUNT),
    "OKX": ("json", lambda b: body(
        [[str(r[0]), *map(str, r[1:5]), str(r[5] * 100), str(r[5]), str(r[6]), str(int(r[0] < START + 39 * HOUR))]
         for r in b.rows()[::-1]], code="0", msg=""), COUNT - 1),
    "KuCoin": ("json", lambda b: body(
        [[str(r[0] // 1000), *(str(r[i]) for i in (1, 4, 2, 3, 5, 6))] for r in b.rows()[::-1]], code="1"), COUNT - 1),
    "Kraken": ("json", lambda b: json.dumps({"error": [], "result": {"XXBTZUSD": [
        [r[0] // 1000, *map(str, r[1:5]), str(r[6] / r[5]), str(r[5]), 9] for r in b.rows()], "last": 1}}).encode(), COUNT - 1),
    "Gate": ("json", lambda b: json.dumps(
        [[str(r[0] // 1000), *(str(r[i]) for i in (6, 4, 2, 3, 1, 5)), "true"] for r in b.rows()]).encode(), COUNT - 1),
    "Bitfinex": ("json", lambda b: json.dumps([[r[0], r[1], r[4], r[2], r[3], r[5]] for r in b.rows()]).encode(), COUNT - 1),
    "Coinbase": ("json", lambda b: json.dumps(
        [[r[0] // 1000, r[3], r[2], r[1], r[4], r[5]] for r in b.rows()[::-1]]).encode(), COUNT - 1),
    "freqtrade JSON": ("json.gz", lambda b: gzip.compress(json.dumps(plain(b)).encode()), COUNT - 1),
    "Alpaca": ("json", lambda b: json.dumps({"bars": {"BTC/USD": [
        {"t": text(r[0], "%Y-%m-%dT%H:%M:%SZ"), "o": r[1], "h": r[2], "l": r[3], "c": r[4], "v": r[5], "n": 3,
         "vw": r[6] / r[5]} for r in b.rows()]}, "next_page_token": None}).encode(), COUNT - 1),
    "CryptoCompare": ("json", lambda b: json.dumps({"Response": "Success", "Data": {"TimeFrom": 1, "Data": [
        {"time": r[0] // 1000, "high": r[2], "low": r[3], "open": r[1], "volumefrom": r[5], "volumeto": r[6], "close": r[4]}
        for r in b.rows()]}}).encode(), COUNT - 1),
    "TradingView columns": ("json", lambda b: json.dumps({"s": "ok", **{
        name: list(column) for name, column in zip(
            "tohlcv", zip(*[[r[0] // 1000, *r[1:6]] for r in b.rows()], strict=True), strict=True)}}).encode(), COUNT - 1),
    "feather": ("feather", lambda b: arrow(frame(b), "feather"), COUNT),
    "parquet of decimals": ("parquet", lambda b: arrow(frame(b)[["date", *NAMES[1:]]].assign(
        **{name: [Decimal(str(v)) for v in getattr(b, name)] for name in NAMES[1:]}), "parquet"), COUNT),
    "parquet of text": ("parquet", lambda b: arrow(
        frame(b).assign(date=b.open_time).astype(str).rename(columns=str.capitalize), "parquet"), COUNT),
    "parquet of New York": ("parquet", lambda b: arrow(
        frame(b).assign(date=lambda f: f.date.dt.tz_convert("America/New_York")), "parquet"), COUNT),
}  # fmt: skip
DAILY = {"TradingView seed"}


@pytest.fixture
def commands(tmp_path) -> Commands:
    return Commands(tmp_path / "data", f"sqlite:///{tmp_path / 'held.sqlite'}", "http://127.0.0.1:9")


def put(folder: Path, name: str, raw: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(raw)


def imported(commands: Commands, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Import, return the exit code and each file's row."""
    code, out, err = commands.run("data", "import", *arguments, "--json")
    assert "Traceback" not in err
    return code, {row["file"]: row for row in json.loads(out)}


def wrong(held: CandleHistory, base: str, whole: Bars) -> list[str]:
    """Return what is stored of a coin and was never its bar."""
    found = []
    for entry in held.entries(Source.TEST):
        if entry.series.symbol.partition("/")[0] != base or not entry.rows:
            continue
        got = held.load(Source.TEST, entry.series)
        at = np.searchsorted(whole.open_time, got.open_time)
        at = np.minimum(at, len(whole) - 1)
        # where a file does not tell the turnover, it is the close's
        close_to = dict.fromkeys(("open_time", "open", "high", "low", "close", "volume"), 1e-12) | {"turnover": 0.01}
        found += [
            f"{entry.series}: {name}" for name, most in close_to.items()
            if not np.allclose(getattr(got, name), getattr(whole, name)[at], rtol=most, atol=0)
        ]  # fmt: skip
    return found


def test_every_shape_that_people_have_is_read_right(commands, tmp_path):
    """A folder of them in one command: every bar of every file, and of answers all but the newest."""
    expected = {}
    for seed, (name, (ending, write, count)) in enumerate(SHAPES.items()):
        bars = truth(seed, DAY if name in DAILY else HOUR)
        file = f"X{seed}USDT.{ending}"
        put(tmp_path / "files", file, write(bars))
        expected[file] = (name, bars, count)
    assert len(expected) >= 40
    code, rows = imported(commands, str(tmp_path / "files"))
    assert {row["file"]: row["error"] for row in rows.values() if "error" in row} == {}
    assert code == 0
    held = commands.store()
    for seed, (file, (name, bars, count)) in enumerate(expected.items()):
        assert rows[file]["added"] == count, (name, rows[file])
        assert wrong(held, f"X{seed}", bars) == [], name


def cut(raw: bytes, rng: np.random.Generator) -> bytes:
    return raw[: int(rng.integers(1, len(raw)))]


def flipped(raw: bytes, rng: np.random.Generator) -> bytes:
    held = bytearray(raw)
    for place in rng.integers(0, len(held), int(rng.integers(1, 30))):
        held[place] ^= int(rng.integers(1, 256))
    return bytes(held)


def damaged(ending: str, raw: bytes, rng: np.random.Generator) -> bytes:
    """Damage that a reader can notice: what is compressed has a checksum, of text whole values go or become others."""
    if ending in {"zip", "csv.gz", "json.gz"}:
        return cut(raw, rng) if rng.random() < 0.4 else flipped(raw, rng)
    if ending in {"feather", "parquet"}:
        return cut(raw, rng)
    if ending == "json":
        kind = rng.integers(0, 3)
        if kind == 0:
            return cut(raw, rng)
        words = [b"1e400", b"NaN", b"-1", b"null", b'"x"', b"[[[]]]", b"1e30"]
        place = raw.rfind(b",", 0, int(rng.integers(len(raw) // 2, len(raw))))
        end = min(
            at for at in (raw.find(b",", place + 1), raw.find(b"]", place), raw.find(b"}", place), len(raw)) if at > 0
        )
        word = words[int(rng.integers(0, len(words)))]
        return raw[: place + 1] + word + raw[end:] if kind == 1 else b"[" * 20_000 + raw
    lines = raw.split(b"\n")
    at = int(rng.integers(0, len(lines)))
    words = [b"", b"inf", b"nan", b"1e30", b"-5", b"x", b'"', b"\x00"]
    cells = lines[at].split(b",")
    kind = rng.integers(0, 4)
    if kind == 0:
        lines[at] = b",".join([*cells[:-1], words[int(rng.integers(0, len(words)))]])
    elif kind == 1:
        lines[at] = b",".join(cells[: max(1, len(cells) // 2)])
    elif kind == 2:
        lines[at] = lines[at] + b",7"
    else:
        lines = lines[:at] + lines[at:][::-1]
    return b"\n".join(lines)


@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_files_that_chance_made_say_nothing_that_is_not_so(commands, tmp_path, seed):
    """Any shape, whole or damaged: what is stored is the market's, what is not has a line, the next one goes on."""
    rng, whole = np.random.default_rng(seed), {}
    shapes = list(SHAPES.items())
    for number in range(100):
        name, (ending, write, _) = shapes[int(rng.integers(0, len(shapes)))]
        bars = truth(1_000 * seed + number, DAY if name in DAILY else HOUR)
        raw = write(bars)
        if rng.random() < 0.75:
            raw = damaged(ending.lower(), raw, rng)
        put(tmp_path / "files", f"F{number}USDT.{ending}", raw)
        whole[f"F{number}"] = (name, bars)
    code, rows = imported(commands, str(tmp_path / "files"))
    assert code == 3
    assert len(rows) == 100
    held = commands.store()
    found = {base: (name, said) for base, (name, bars) in whole.items() if (said := wrong(held, base, bars))}
    assert found == {}
    assert sum("error" not in row for row in rows.values()) >= 25


BARS = truth(7)


REFUSED = [
    ("BTCUSDT_240329-1h-2024-01.zip", packed(csv(binance(BARS), "")), "contract that is delivered"),
    ("BTC_USDT_USDT-240329-1h-futures.csv", csv(plain(BARS)), "contract that is delivered"),
    ("BTCUSDT-29MAR24-1h.csv", csv(plain(BARS)), "contract that is delivered"),
    ("BTCUSDT-premiumIndex-1h.csv", csv(plain(BARS)), "holds premium index"),
    ("indexPriceKlines/BTCUSDT-1h-2024-01.csv", csv(plain(BARS)), "holds index prices"),
    ("BTCUSDT-aggTrades-2024-01.csv", csv(plain(BARS)), "holds trades"),
    ("BTCUSDT-1d-x.csv", csv(plain(BARS)), "bars of 1d, but its rows are 1h apart"),
    ("BTCUSDT-1m-x.csv", csv(plain(BARS)), "bars of 1m, but its rows are 1h apart"),
    ("BTCUSDT_1w.csv", csv(plain(truth(7, 7 * DAY))), "bars of 7d are not kept"),
    ("BTCUSDT-3d.csv", csv(plain(truth(7, 3 * DAY))), "bars of 3d are not kept"),
    ("BTCUSDT.csv", csv(plain(truth(7, 505))), "are these trades"),
    ("BTCUSDT.csv", csv([[text(r[0], "%Y-%m-%d"), "15:30", *r[1:6]] for r in truth(7, DAY).rows()],
                        "Date,Time,Open,High,Low,Close,Volume"), "each stands 930 min after a bar of 1d opens"),
    ("BTCUSDT-1h.csv", csv([[r[0] + HOUR - 1, *r[1:]] for r in plain(BARS)]), "off the grid"),
    ("BTCUSDT-1h.zip", packed(csv(plain(BARS)))[:200], "not a zip"),
    ("BTCUSDT-1h.csv", csv([[*r, r[5]] for r in plain(BARS)], "timestamp,open,high,low,close,volume,turnover"),
     "counts contracts"),
    ("BTCUSDT-1h.csv", csv([[*r, r[5] + 1] for r in plain(BARS)], "timestamp,open,high,low,close,Volume,volume"),
     "says volume twice"),
    ("BTCUSDT-1h.csv", csv([[r[0], *r[4:0:-1], r[5]] for r in [[x[0], x[2], x[1], x[3], x[4], x[5]] for x in plain(BARS)]], ""),
     "no order that is known"),
    ("BTCUSDT-1h.csv", csv([[*r[:5], 0] for r in plain(BARS)]), "nothing was traded"),
    ("BTCUSDT-1h.json", b"[" * 100_000, "BTCUSDT-1h.json"),
    ("BTCUSDT-1h.json", b'{"a": ' * 3_000 + b"1" + b"}" * 3_000, "BTCUSDT-1h.json"),
    ("BTCUSDT-1h.csv", csv([[4_102_444_800_000 + i * HOUR, *r[1:]] for i, r in enumerate(plain(BARS))]), "not finished"),
    ("BTCUSD_PERP-1h.csv", csv(plain(BARS)), "does not tell the symbol"),
]  # fmt: skip


def test_what_is_not_the_markets_is_refused_by_a_reason_that_is_right(commands, tmp_path):
    """All of them in one command: a line each, and nothing is stored."""
    paths = []
    for number, (file, raw, _) in enumerate(REFUSED):
        paths.append(tmp_path / str(number) / file)
        put(paths[-1].parent, paths[-1].name, raw)
    code, out, err = commands.run("data", "import", *map(str, paths), "--json")
    assert (code, "Traceback" in err) == (1, False)
    for row, (file, _, says) in zip(json.loads(out), REFUSED, strict=True):
        assert says in row["error"], file
        assert "\n" not in row["error"], file
    assert not any(entry.rows for entry in commands.store().entries())


def test_prices_of_another_market_replace_nothing_unless_forced(commands, tmp_path):
    """A delivery contract, a premium or a coin of another size, under the name of the perpetual, in any timeframe."""
    put(tmp_path, "BTCUSDT-1h.csv", csv(plain(BARS)))
    assert imported(commands, str(tmp_path / "BTCUSDT-1h.csv"))[0] == 0
    scaled = [[r[0], *(v * 1.05 for v in r[1:5]), r[5]] for r in plain(BARS)]
    quarters = [[r[0], *(v * 1e-6 for v in r[1:5]), r[5]] for r in plain(walk(COUNT * 4, START, HOUR // 4, 9))]
    for file, rows in {
        "BTCUSDT-1h-2024-01.csv": scaled, "BTCUSDT-15m.csv": quarters, "BTC_USDT-1h.csv": scaled
    }.items():  # fmt: skip
        put(tmp_path / "other", file, csv(rows))
        code, found = imported(commands, str(tmp_path / "other" / file))
        assert code == 1, file
        assert "another market's" in found[file]["error"]
        assert "--force" in found[file]["error"]
    held = commands.store().load(Source.TEST, Series("BTC/USDT:USDT", "1h"))
    assert np.array_equal(held.close, BARS.close)
    near = [[r[0], *(v * 1.001 for v in r[1:5]), r[5]] for r in plain(BARS)]
    put(tmp_path / "other", "BTC_USDT-1h.csv", csv(near))
    assert imported(commands, str(tmp_path / "other" / "BTC_USDT-1h.csv"))[0] == 0
    assert imported(commands, str(tmp_path / "other" / "BTCUSDT-1h-2024-01.csv"), "--force")[0] == 0


def test_files_of_a_folder_are_taken_for_what_they_are_named(commands, tmp_path):
    """As freqtrade keeps them: candles, mark prices and funding beside each other; a pipe is waited for by nobody."""
    import os

    put(tmp_path / "d/futures", "BTC_USDT_USDT-1h-futures.feather", arrow(frame(BARS), "feather"))
    put(tmp_path / "d/futures", "BTC_USDT_USDT-1h-mark.feather", arrow(frame(BARS).assign(volume=np.nan), "feather"))
    put(tmp_path / "d/futures", "BTC_USDT_USDT-1h-funding_rate.feather",
        arrow(frame(BARS)[["date"]].assign(funding_rate=0.0001), "feather"))  # fmt: skip
    put(tmp_path / "d/spot/monthly/klines/BTCUSDT/1h", "BTCUSDT-1h-2024-01.zip", packed(csv(binance(BARS), "")))
    os.mkfifo(tmp_path / "d" / "pipe.csv")
    code, rows = imported(commands, str(tmp_path / "d"), "-s", "binance")
    assert code == 0
    assert len(rows) == 4
    assert rows["BTCUSDT-1h-2024-01.zip"]["symbol"] == "BTC/USDT"
    store = commands.store()
    assert {entry.series.symbol for entry in store.entries(Source.BINANCE) if entry.rows} == {
        "BTC/USDT",
        "BTC/USDT:USDT",
    }
    assert imported(commands, str(tmp_path / "d" / "pipe.csv"))[0] == 1


@pytest.fixture
def quarters(tmp_path) -> Path:
    rows = plain(walk(96 * 20, START, HOUR // 4))
    put(tmp_path, "BTCUSDT-15m.csv", csv(rows))
    return tmp_path / "BTCUSDT-15m.csv"


@pytest.mark.parametrize("configured", ["test", "mock", "coingecko", "alpaca"])
def test_stored_data_needs_nothing_of_what_a_bot_trades_on(commands, quarters, configured):
    """Whatever the source of a bot would be: import, judge, trade the past of and list any source, by name."""
    commands.environment["DATA_SOURCE"] = configured
    for source in ("mock", "synthetic", "test"):
        asked = ("-s", source)
        assert commands.run("data", "import", str(quarters), *asked)[0] == 0
        assert commands.run("data", "quality", *asked)[0] == 0
        trade = ("backtest", "run", *asked, "-p", "BTC/USDT:USDT", "--strategy", "mr", "--json")
        code, out, err = commands.run(*trade)
        assert code == 0, err
        assert json.loads(out)["request"]["source"] == source
    assert commands.run("sources", "list")[0] == 0
    assert commands.run("data", "status")[0] == 0


def test_what_bars_serve_is_said_where_they_do_not_serve_all(commands, quarters):
    """After an import of 15m bars a backtest of all strategies names those that can be tried on them."""
    assert commands.run("data", "import", str(quarters))[0] == 0
    code, _, err = commands.run("backtest", "run", "-s", "test", "-p", "BTC/USDT:USDT")
    assert code == 1
    assert "these bars serve trend_pullback, mean_reversion; give --strategy trend,mr (scalp needs 3m)" in err
