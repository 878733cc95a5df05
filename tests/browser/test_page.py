"""The page as people see it: a real bot on the practice exchange, looked at with Chromium."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.bot import PATIENCE, Bot

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
WAIT_MS = 30_000 * PATIENCE
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SHOWN = {
    "overview": [
        "Equity",
        "Profit factor",
        "Exposure",
        "Without a stop",
        "Open positions",
        "Last days",
        "journal",
        "Other bots",
        "cannot be reached",
    ],
    "charts": ["Symbol", "What was done"],
    "trades": ["trades, net", "Export as CSV"],
    "performance": ["Win rate", "Profit factor", "Net profit by day"],
    "backtests": ["New backtest", "Who has signed in to act can begin one here.", "manage.py backtest run"],
    "phantoms": ["Followed", "What the refused signals would have made", "What each gate saved or cost"],
    "models": ["Lessons", "Reliability", "Training runs"],
    "data": ["Problems", "Coverage", "Regular jobs", "retention", "Works"],
    "system": ["State of the components", "Newest lines of the log", "Workers", "Counters", "Settings in force"],
    "api": ["/api/v1/trades", "/api/market-summary", "/metrics"],
}

# one bot serves them all: spread over workers there would be one each
pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def bot(tmp_path_factory) -> Iterator[Bot]:
    """A bot that has begun to trade."""
    # a market at its leisure: what is looked at here is the page
    held = Bot(tmp_path_factory.mktemp("page"), REVENANT__SANDBOX__SYMBOLS="6", REVENANT__SANDBOX__SPEED="60",
               REVENANT__DASHBOARD__BOTS=json.dumps([{"name": "another", "url": "http://127.0.0.1:9"}]))  # fmt: skip
    held.start()
    held.wait_ready()
    held.wait_for("signals", lambda status: status["signals"] >= 3, 240)
    yield held
    held.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        held = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield held
        held.close()


class Looking:
    """A browser that looks at a bot; ``said`` is what its console complained of."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.address, self.said = address, list[str]()
        self.page.on("console", lambda line: self.said.append(line.text) if line.type in {"error", "warning"} else None)
        self.page.on("response", lambda one: self.said.append(one.text()) if one.status >= 400 else None)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))

    def open(self, view: str, more: str = "") -> Page:
        self.page.goto(f"{self.address}/#{view}{more}")
        expect(self.page.locator("nav a[aria-current=page]")).to_have_attribute("href", f"#{view}", timeout=WAIT_MS)
        return self.page

    def shows(self, *texts: str) -> None:
        for text in texts:
            place = self.page.locator("main").get_by_text(text).or_(self.page.locator(f"main [aria-label='{text}']"))
            expect(place.first).to_be_visible(timeout=WAIT_MS)


@pytest.fixture
def looking(bot: Bot, browser: Browser) -> Iterator[Looking]:
    note = json.loads((bot.data / "dashboard.json").read_text())
    context = browser.new_context(viewport=WIDE)
    yield Looking(context, f"http://127.0.0.1:{note['port']}")
    context.close()


def faults(page: Page) -> list[dict[str, Any]]:
    """Return what axe finds that keeps people out."""
    found = Axe().run(page).response["violations"]
    return [
        {"rule": one["id"], "where": [node["target"] for node in one["nodes"]][:3]}
        for one in found if one["impact"] in {"serious", "critical"}
    ]  # fmt: skip


# what is wider than its place: people would have to push it sideways to see all of it
SIDEWAYS = """() => [document.documentElement, ...document.querySelectorAll("body *:not(.unseen, .unseen *, .chart *)")]
  .filter((one) => one.clientWidth && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== "inline")
  .map((one) => `${one.tagName} ${one.className} ${one.getAttribute("aria-label")}`)"""


@pytest.mark.parametrize("view", SHOWN)
def test_every_view_shows_real_contents_to_everybody(looking, view):
    page = looking.open(view)
    looking.shows(*SHOWN[view])
    if view == "charts":
        expect(page.locator(".chart[data-ready] canvas").first).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("main [role=alert]")).to_have_count(0)
    for theme in ("light", "dark"):
        page.get_by_label("Colours").select_option(theme)
        assert faults(page) == [], (view, theme)
    page.set_viewport_size(PHONE)
    # a chart follows the new width a moment later, tables become cards
    page.wait_for_function(f"() => !({SIDEWAYS})().length")
    assert faults(page) == [], (view, "phone")
    assert looking.said == []


HIDDEN = """() => [...document.querySelectorAll(".chart td")].map((cell) => {
  const inside = getComputedStyle(cell), box = cell.getBoundingClientRect();
  const drawn = [...cell.querySelectorAll("canvas")].map((one) => one.getBoundingClientRect());
  return Math.max(parseFloat(inside.paddingLeft), parseFloat(inside.borderBottomWidth),
    ...drawn.map((one) => Math.max(one.right - box.right, one.bottom - box.bottom, box.left - one.left)));
})"""


@pytest.mark.parametrize("width", [390, 820, 1400])
def test_no_part_of_the_chart_is_hidden_by_the_cell_that_it_is_drawn_in(looking, width):
    page = looking.open("charts")
    page.set_viewport_size({"width": width, "height": 900})
    expect(page.locator(".chart[data-ready] canvas").first).to_be_visible(timeout=WAIT_MS)
    # the chart follows the width a moment later
    page.wait_for_function(
        f"() => {{ const found = ({HIDDEN})(); return found.length >= 4 && found.every((one) => one <= 1); }}"
    )
    time_axis = page.locator(".chart table tr").last
    assert time_axis.bounding_box()["width"] <= page.locator(".chart").bounding_box()["width"]


# whether the chart shows a moment
SHOWS = """(began) => {
    const ranges = [...document.querySelectorAll(".panel .row .quiet")].map((one) => one.textContent.split(" to "));
    return ranges.some(([from, to]) => to && from.length === 16 && from <= began && began <= to);
}"""


def test_the_chart_goes_back_in_history_and_to_what_was_done(looking):
    page = looking.open("charts", "?timeframe=3m")
    expect(page.locator(".chart[data-ready] canvas").first).to_be_visible(timeout=WAIT_MS)
    expect(page.locator(".legend")).to_contain_text("Vol", timeout=WAIT_MS)
    page.get_by_label("Lines of").select_option("scalp")
    expect(page.locator(".legend")).to_contain_text("vwap", timeout=WAIT_MS)
    with page.expect_response(lambda one: "/chart/older" in one.url and one.ok, timeout=WAIT_MS):
        for _ in range(10):
            page.get_by_role("button", name="Earlier").click()
    newest = page.locator("[aria-label='What was done on this chart'] tbody tr").first
    began = newest.locator("td[data-name=Entry]").inner_text()
    newest.get_by_role("button").click()
    page.wait_for_function(SHOWS, arg=began)
    assert faults(page) == []
    assert looking.said == []


def test_who_follows_the_link_pauses_trading_and_it_is_in_the_audit(looking, bot):
    told = json.loads(bot.manage("dashboard", "--json").stdout)
    page = looking.page
    page.goto(told["link"])
    expect(page.get_by_role("button", name="Sign out")).to_be_visible(timeout=WAIT_MS)
    # the key works once, and is not left in the address
    assert "key" not in page.url
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Cancel").click()
    assert bot.status()["switch"] == "running"
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Yes, pause").click()
    expect(page.get_by_text("Trading is paused.")).to_be_visible(timeout=WAIT_MS)
    assert bot.status()["switch"] == "paused"
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.locator("main").get_by_text("paused: exits only")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Yes, start").click()
    bot.wait_for("the switch", lambda status: status["switch"] == "running")
    deeds = [json.loads(line) for line in (bot.data / "page-audit.jsonl").read_text().splitlines()]
    assert [one["state"] for one in deeds if one["what"] == "switch"] == ["paused", "running"]
    assert looking.said == []


def test_on_a_phone_profit_and_close_of_every_position_are_in_view(looking, bot):
    looking.page.set_viewport_size(PHONE)
    looking.page.goto(json.loads(bot.manage("dashboard", "--json").stdout)["link"])
    position = looking.page.locator("[aria-label='Open positions'] tbody tr").first
    for place in (position.locator("td[data-name=Profit]"), position.get_by_role("button", name="Close")):
        expect(place).to_be_visible(timeout=4 * WAIT_MS)
        box = place.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]


def test_the_page_lives_without_being_loaded_again(looking):
    page = looking.open("overview")
    time = page.locator(".figure", has_text="Market time").locator("dd")
    expect(time).to_contain_text("20", timeout=WAIT_MS)
    before = time.inner_text()
    page.evaluate("window.sameDocument = true")
    expect(time).not_to_have_text(before, timeout=WAIT_MS)
    assert page.evaluate("window.sameDocument") is True


def test_everything_can_be_reached_by_keyboard(looking):
    page = looking.open("trades")
    looking.shows("trades, net")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.textContent || document.activeElement.getAttribute('aria-label')")
        )
    assert {"Sign in", "Overview", "API", "Export as CSV"} <= reached


def test_what_is_wrong_is_said_with_what_to_do(looking):
    page = looking.open("overview")
    page.get_by_role("button", name="Sign in", exact=True).click()
    looking.page.get_by_label("Key of a link").fill("not a key")
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("that is not the password")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("python manage.py dashboard")).to_be_visible(timeout=WAIT_MS)


def test_the_equity_curve_says_what_it_was_at_any_moment_by_pointer_and_by_keyboard(looking):
    page, hour = looking.page, 3_600_000
    nets = ["10.00", "-5.00", "30.00", "20.00"]
    told = [{"time": 1_795_980_000_000 + at * hour, "net": net} for at, net in enumerate(nets)]
    page.route("**/api/v1/equity*", lambda route: route.fulfill(body=json.dumps(told)))
    looking.open("overview")
    moment, slider = page.locator(".curve .legend"), page.get_by_role("slider", name="Moment of net profit")
    slider.press("Home")
    expect(moment).to_contain_text("net +10.00", timeout=WAIT_MS)
    expect(moment).to_contain_text("drawdown 0.00", timeout=WAIT_MS)
    slider.press("ArrowRight")
    expect(moment).to_contain_text("drawdown 15.00", timeout=WAIT_MS)
    page.locator(".curve .hands").hover(position={"x": 1, "y": 5})
    expect(moment).to_contain_text("net +10.00", timeout=WAIT_MS)
    expect(page.locator(".curve .upper .level").filter(has_text=re.compile("^20$"))).to_be_visible(timeout=WAIT_MS)
    with page.expect_request(lambda one: one.url.endswith("/equity?days=7"), timeout=WAIT_MS):
        page.get_by_role("combobox", name="Range").select_option("7")
    assert faults(page) == []
    assert looking.said == []


def test_a_trade_leads_to_its_place_on_the_chart(looking):
    looking.open("charts")
    known = looking.page.request.get(f"{looking.address}/api/v1/symbols").json()["symbols"]
    entered = datetime.now(UTC).isoformat()
    row = {"trade_id": "t1", "symbol": known[-1], "side": "long", "strategy_name": "scalp", "timeframe": "3m",
           "quantity": "2", "entry_price": "50", "exit_price": "51", "entry_time": entered, "exit_time": entered,
           "exit_reason": "take_profit", "pnl_usd": "2", "r_multiple": "1", "fees": "0.5", "funding": "0", "score": None,
           "touched": ""}  # fmt: skip
    told = {
        "total": 1,
        "net": "2",
        "trades": [row],
        "symbols": known,
        "strategies": ["scalp"],
        "exits": ["take_profit"],
    }
    looking.page.route("**/api/v1/trades?*", lambda route: route.fulfill(body=json.dumps(told)))
    page = looking.open("trades")
    expect(page.locator("td[data-name=Size]")).to_have_text("100", timeout=WAIT_MS)
    page.get_by_role("link", name="on the chart").click()
    expect(page.get_by_role("heading", name=f"{known[-1].split('/')[0]} 3m")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator(".chart[data-ready]")).to_be_visible(timeout=WAIT_MS)
    assert looking.said == []


def test_performance_is_told_by_every_way_of_grouping(looking):
    def rows(names: list[str]) -> str:
        made = {"wins": 2, "win_rate": 50.0, "pnl": "-1.50", "fees": "0.25", "mean_r": -0.5, "held_s": 60.0}
        return json.dumps([{"name": name, "trades": at + 4, **made} for at, name in enumerate(names)])

    names = {"day": ["2026-11-30", "2026-11-29"], "week": ["2026-11-30"], "month": ["2026-11-01"], "symbol": ["BTC/USDT:USDT"],
             "strategy": ["trend_pullback", "scalp"], "exit": ["stop_loss"], "hour": ["00:00", "21:00"]}  # fmt: skip
    page = looking.page
    page.route(
        re.compile("/api/v1/(results|groups)/"),
        lambda route: route.fulfill(body=rows(names[urlsplit(route.request.url).path.split("/")[-1]])),
    )
    looking.open("performance")
    by = page.get_by_role("combobox", name="By", exact=True)
    for way, told in names.items():
        by.select_option(way)
        place = page.locator(f"[aria-label='Results by {by.locator('option:checked').inner_text()}'] tbody tr")
        expect(place).to_have_count(len(told) + 1, timeout=WAIT_MS)
        # the first row sums the others
        trades, net = (place.first.locator(f"td[data-name={name}]") for name in ("Trades", "Net"))
        expect(trades).to_have_text(str(sum(4 + at for at, _ in enumerate(told))), timeout=WAIT_MS)
        expect(net).to_contain_text(f"{1.5 * len(told):.2f}", timeout=WAIT_MS)
    assert faults(page) == []
    assert looking.said == []


def test_a_backtest_is_begun_cancelled_begun_again_looked_at_and_compared(looking, bot):
    page = looking.page
    page.goto(json.loads(bot.manage("dashboard", "--json").stdout)["link"])
    expect(page.get_by_role("button", name="Sign out")).to_be_visible(timeout=WAIT_MS)
    looking.open("backtests")
    page.get_by_label("From", exact=True).fill("yesterday")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("form [role=alert]")).to_contain_text("'yesterday' is not a date", timeout=WAIT_MS)
    page.get_by_label("From", exact=True).fill("")
    page.get_by_label("scalp").check()
    begun = page.locator("[aria-label='Backtests begun here'] > li")
    for count, wallet in ((1, "5000"), (2, "6000"), (3, "7000")):
        page.get_by_label("Wallet").fill(wallet)
        page.get_by_role("button", name="Begin").click()
        expect(begun).to_have_count(count, timeout=WAIT_MS)
    begun.first.get_by_role("button", name="Cancel").click()
    expect(begun.first).to_contain_text("ended", timeout=WAIT_MS)
    expect(begun.get_by_text("done")).to_have_count(2, timeout=4 * WAIT_MS)
    rows = page.locator("[aria-label='Backtests that were done'] tbody tr")
    expect(rows).to_have_count(2, timeout=WAIT_MS)
    rows.first.get_by_role("link").first.click()
    looking.shows("Max drawdown", "Profit and drawdown", "By strategy", "Moment of net profit")
    expect(page.locator(".chart[data-ready] canvas").first).to_be_visible(timeout=WAIT_MS)
    trade = page.locator("[aria-label='Trades of the backtest'] tbody tr").last
    entry = trade.locator("td[data-name=Entry]").inner_text()
    trade.get_by_role("button").click()
    page.wait_for_function(SHOWS, arg=entry)
    before = page.locator(".panel .row .quiet", has_text=" to ").first.inner_text()
    page.get_by_role("button", name="Zoom in").click()
    expect(page.locator(".panel .row .quiet", has_text=" to ").first).not_to_have_text(before, timeout=WAIT_MS)
    page.wait_for_function(SHOWS, arg=entry)
    assert faults(page) == []
    page.get_by_role("link", name="Compare with").click()
    looking.shows("Figures side by side", "settings.paper.wallet")
    assert faults(page) == []
    page.set_viewport_size(PHONE)
    page.wait_for_function(f"() => !({SIDEWAYS})().length")
    # the refused request is told of at any time after the page has shown it, by its answer and by the console
    refused = ("'yesterday' is not a date", "Failed to load resource")
    assert [said for said in looking.said if not any(words in said for words in refused)] == []


def cost(name: str, net: float, low: float | None, high: float | None, verdict: str) -> dict[str, Any]:
    return {"name": name, "refused": 30, "would_have_won": 12, "missed_r": "14", "avoided_r": "20", "net_r": str(net),
            "low_r": low, "high_r": high, "days": 20 if low is not None else 3, "verdict": verdict}  # fmt: skip


def changed(looking: Looking, path: str, change: Any) -> None:
    """Have an answer of the bot changed on its way to the page."""

    def answer(route: Any) -> None:
        route.fulfill(body=json.dumps(change(route.fetch().json())))

    looking.page.route(re.compile(f"/api/v1/{path}([?].*)?$"), answer)


def test_what_a_view_has_to_say_comes_first_in_a_sentence(looking):
    gates = [cost("spread", -40, -60, -20, "saved"), cost("score", 25, 5, 45, "cost"),
             cost("cooldown", 3, -9, 15, "not told from chance"), cost("news", 1, None, None, "too few days")]  # fmt: skip
    changed(looking, "phantoms", lambda told: {**told, "by_gate": gates, "by_strategy": gates[:1]})
    worth = {"scored_by": "model", "signals": 400, "value": 0.31, "low": 0.1, "high": 0.52, "days": 40}
    run = {"folds": [], "trained_at": 1_795_980_000_000, "verdict": "promoted", "reason": "better", "importance": {"rsi": 0.1},
           "calibration": {"groups": [{"predicted": 0.98, "came_true": 0.99, "n": 40}]}}  # fmt: skip
    changed(looking, "models", lambda told: {
        **told, "strategies": {name: {**one, "worth": worth, "last_result": run} for name, one in told["strategies"].items()}
    })  # fmt: skip
    changed(looking, "coverage", lambda told: [{**told[0], "missing": 90, "completeness": 91.5}, *told[1:]])
    workers = [{"name": f"celery@{host}.example", "processes": 4, "seen_s": age, "lost": age > 60}
               for host, age in (("first", 4.0), ("second", 700.0))]  # fmt: skip
    changed(looking, "workers", lambda _: {
        "beat": {"name": "host:7", "seen_s": 4.0, "drift_s": -0.5}, "workers": workers, "tasks": 3, "waiting": 2,
        "running": 1, "oldest_s": 40.0, "reason": "",
    })  # fmt: skip
    for view, said in (
        ("phantoms", "By their intervals spread saved; score cost; of the others chance could have made as much."),
        ("models", "The score ranks signals: the better scored half of 400 signals made +0.31 R a signal"),
        ("data", "1 of "), ("system", "components are well."),
    ):  # fmt: skip
        page = looking.open(view)
        expect(page.locator(".verdict").first).to_contain_text(said, timeout=WAIT_MS)
        if view == "system":
            rows = page.locator("[aria-label='Workers'] tbody tr")
            expect(rows.nth(1).locator("td[data-name=State]")).to_contain_text("lost", timeout=WAIT_MS)
            page.get_by_text("Counters", exact=True).press("Enter")
            looking.shows("Loop lag p99", "How long threads take")
            page.get_by_text("Settings in force", exact=True).press("Enter")
            looking.shows("dashboard.port")
            page.get_by_label("Level").select_option("errors")
            expect(page.get_by_text(re.compile("^0 of the newest"))).to_be_visible(timeout=WAIT_MS)
        page.set_viewport_size(PHONE)
        page.wait_for_function(f"() => !({SIDEWAYS})().length")
        assert faults(page) == [], view
        page.set_viewport_size(WIDE)
    assert looking.said == []


def test_who_goes_on_while_the_page_is_being_drawn_gets_there(looking):
    looking.page.add_init_script("""
        new MutationObserver((_, watch) => {
            if (document.querySelector("nav")) { watch.disconnect(); location.hash = "trades"; }
        }).observe(document, {childList: true, subtree: true});
    """)
    looking.page.goto(looking.address)
    here = looking.page.locator("nav a[aria-current=page]")
    expect(here).to_have_attribute("href", "#trades", timeout=WAIT_MS)


def test_a_job_begun_on_the_page_is_seen_to_its_end(looking, bot):
    link = json.loads(bot.manage("dashboard", "--json").stdout)["link"]
    looking.page.goto(link)
    expect(looking.page.get_by_role("button", name="Sign out")).to_be_visible(timeout=WAIT_MS)
    page = looking.open("data")
    row = page.locator("tr", has_text="retention")
    row.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Yes, run").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    done = page.locator(".works li", has_text="data run retention")
    expect(done.get_by_text("done", exact=False).first).to_be_visible(timeout=2 * WAIT_MS)
    expect(row.get_by_text("completed")).to_be_visible(timeout=2 * WAIT_MS)
