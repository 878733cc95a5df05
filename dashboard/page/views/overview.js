// How it stands at a glance, and what can be done at once.

import { Act, Amount, Badge, Figure, Panel, Select, Shown, Table, html, useData, usePulse, useState } from "../parts.js";
import { order } from "../api.js";
import { Curve } from "../curve.js";
import { DASH, coin, lasted, moment, number, percent, price, words } from "../format.js";

export function View({ session, signIn }) {
  const pulse = usePulse();
  return html`<div class="grid">
    <${Strip} pulse=${pulse} />
    <${Bots} />
    <${Positions} pulse=${pulse} session=${session} />
    <${Controls} pulse=${pulse} session=${session} signIn=${signIn} />
    <${Equity} pulse=${pulse} />
    <${Today} />
    <${Parts} pulse=${pulse} />
  </div>`;
}

// Share of the equity that is in positions, at the prices of the moment, in percent.
function exposure(pulse) {
  const held = pulse.positions.reduce((sum, one) => sum + Number(one.qty) * Number(one.price), 0);
  return Number(pulse.equity) ? (100 * held) / Number(pulse.equity) : null;
}

function Strip({ pulse }) {
  const made = useData("/statistics", {}, { events: ["trade"] });
  if (!pulse) return html`<${Panel} title="At a glance" wide><p class="quiet" role="status">Loading …</p></${Panel}>`;
  const told = made.data;
  const naked = pulse.naked.length;
  return html`<${Panel} title="At a glance" wide>
    <dl class="figures strip">
      <${Figure} name="Equity" value=${number(pulse.equity)} />
      <${Figure} name="Today" value=${html`<${Amount} value=${pulse.day_pnl} />`} />
      <${Figure} name="Open" value=${html`${pulse.open} · <${Amount} value=${pulse.open_pnl} />`} note=${pulse.pending ? `${pulse.pending} pending` : ""} />
      <${Figure} name="Win rate" value=${told && told.total_trades ? percent(told.win_rate) : DASH} note=${told ? `${told.total_trades} trades` : ""} />
      <${Figure} name="Profit factor" value=${told && told.profit_factor !== null ? number(told.profit_factor) : DASH} />
      <${Figure} name="Max drawdown" value=${told ? number(told.slump) : DASH} />
      <${Figure} name="Exposure" value=${percent(exposure(pulse), 0)} note="of the equity" />
      <${Figure} name="Without a stop" value=${`${number(pulse.naked_seconds.max, 1)} s`} tone=${naked ? "bad" : ""} note=${naked ? `${naked} now` : "at most, none now"} />
      <${Figure} name="Market time" value=${moment(pulse.market_time)} />
    </dl>
  </${Panel}>`;
}

// Other bots beside this one, where the settings name some.
function Bots() {
  const held = useData("/bots", {}, { everyS: 5 });
  const rows = held.data || [];
  if (!rows.length) return null;
  const told = (of) => (one) => (one.error ? DASH : of(one));
  const columns = [
    { name: "Bot", lead: true, of: (one) => html`<a href=${one.url} rel="noreferrer">${one.name}</a>` },
    { name: "State", full: true, of: (one) => html`<${Standing} bot=${one} />` },
    { name: "Equity", right: true, lead: true, of: told((one) => number(one.equity)) },
    { name: "Today", right: true, of: told((one) => html`<${Amount} value=${one.day_pnl} />`) },
    { name: "Open", right: true, of: told((one) => html`${one.open} · <${Amount} value=${one.open_pnl} />`) },
  ];
  return html`<${Panel} title="Other bots" wide>
    <${Table} columns=${columns} rows=${rows} label="Other bots" keyOf=${(one) => one.name} />
  </${Panel}>`;
}

function Standing({ bot }) {
  if (bot.error) return html`<span><${Badge} tone="bad">no answer</${Badge}> ${bot.error}</span>`;
  const [tone, name] = SWITCH[bot.switch] || ["", bot.switch];
  const why = bot.ready ? "" : bot.reasons.join(" ");
  return html`<span>${bot.mode} <${Badge} tone=${bot.ready ? tone : "warn"}>${name}</${Badge}> ${why}</span>`;
}

const SWITCH = { running: ["good", "running"], paused: ["warn", "paused: exits only"], stopped: ["bad", "stopped"] };

// What became of one position that was to be closed.
function outcome(one) {
  const reason = one.reason ? ` (${one.reason})` : "";
  if (one.outcome === "closing") return `${one.symbol}: ${one.left} still open after ${one.attempts} exits, trying on${reason}.`;
  return one.outcome === "withdrawn" ? `${one.symbol}: entry withdrawn.` : `${one.symbol} closed.`;
}

// What is done though the audit log does not take it says so.
const noted = (text) => (told) => [text(told), told.unaudited].filter(Boolean).join(" ");

function Controls({ pulse, session, signIn }) {
  if (!session.running) return html`<${Panel} title="Trading" wide><p>No bot runs behind this page. It shows what is stored, and changes nothing.</p></${Panel}>`;
  const [tone, name] = SWITCH[pulse ? pulse.switch : ""] || ["", DASH];
  const turn = (state) => () => order("/switch", { state }).then(noted((told) => `Trading is ${told.switch}.`));
  const closed = noted((told) => told.outcomes.map(outcome).join(" ") || "Nothing was open.");
  return html`<${Panel} title="Trading" wide aside=${html`<${Badge} tone=${tone}>${name}</${Badge}>`}>
    ${session.signed_in
      ? html`<div class="row wrap">
          <${Act} name="Start" what="Signals lead to new positions again." act=${turn("running")} disabled=${pulse && pulse.switch === "running"} />
          <${Act} name="Pause" what="No new positions; open ones are managed on." act=${turn("paused")} disabled=${pulse && pulse.switch === "paused"} />
          <${Act} name="Stop" what="No new positions, over restarts too; stops and targets stay on the exchange." act=${turn("stopped")} disabled=${pulse && pulse.switch === "stopped"} />
          <${Act} name="Close all" tone="danger" what="Every position is closed at the market." act=${() => order("/forceexit", { what: "all" }).then(closed)} />
          <${Act} name="Panic" tone="danger" what="Trading is stopped, and every position is closed at the market." act=${() => order("/panic", {}).then(closed)} />
        </div>`
      : html`<p class="quiet">To pause, stop or close: <button type="button" onClick=${signIn}>sign in</button></p>`}
  </${Panel}>`;
}

// Where the price stands between stop and target, in words and as a mark.
function Way({ row }) {
  const stop = Number(row.stop);
  const target = Number(row.target);
  const now = Number(row.price);
  if (!stop || !now) return DASH;
  const away = (level) => percent((100 * Math.abs(level - now)) / now, 2);
  if (!target) return html`<span class="way">${away(stop)} to the stop, no target</span>`;
  const share = Math.min(1, Math.max(0, (now - stop) / (target - stop)));
  return html`<span class="way" title=${`${away(stop)} to the stop, ${away(target)} to the target`}>
    <span class="unseen">${away(stop)} to the stop, ${away(target)} to the target</span>
    <span aria-hidden="true">${away(stop)}</span>
    <span class="track" aria-hidden="true"><span class="mark" style=${{ left: `${100 * share}%` }}></span></span>
    <span aria-hidden="true">${away(target)}</span></span>`;
}

function Positions({ pulse, session }) {
  const rows = pulse ? pulse.positions : [];
  const columns = [
    { name: "Symbol", lead: true, of: (one) => html`<a href=${`#charts?symbol=${encodeURIComponent(one.symbol)}`}>${coin(one.symbol)}</a>` },
    { name: "Side", of: (one) => (one.side === "long" ? "↗ long" : "↘ short") },
    { name: "Strategy", of: (one) => words(one.strategy) },
    { name: "Entry", right: true, of: (one) => (one.pending ? html`<em>pending</em>` : price(one.entry)) },
    { name: "Price", right: true, of: (one) => price(one.price) },
    { name: "Stop ← price → target", full: true, of: (one) => html`<${Way} row=${one} />` },
    { name: "Profit", right: true, lead: true, of: (one) => html`<${Amount} value=${one.pnl} />` },
    { name: "R", right: true, of: (one) => html`<${Amount} value=${one.r} />` },
    { name: "Since", of: (one) => moment(one.opened_at) },
  ];
  if (session.signed_in && session.running) {
    columns.push({ name: "Action", lead: true, of: (one) => html`<${Act} name="Close" title=${`Close ${coin(one.symbol)}`} tone="danger"
      what=${`${one.side} ${coin(one.symbol)} is closed at the market, at about ${price(one.price)}.`}
      act=${() => order("/forceexit", { what: one.id }).then(() => "It is being closed.")} />` });
  }
  return html`<${Panel} title="Open positions" wide>
    <${Table} columns=${columns} rows=${rows} label="Open positions" keyOf=${(one) => one.id}
      empty=${pulse && pulse.ready ? "No position is open; the strategies are watching." : "No position is open."} />
  </${Panel}>`;
}

const RANGES = [["", "all time"], ["1", "1 day"], ["7", "7 days"], ["30", "30 days"], ["365", "a year"]];

function Equity({ pulse }) {
  const [days, setDays] = useState("");
  const held = useData("/equity", { days }, { events: ["trade"] });
  // the last point moves with prices: what is open belongs to it
  const living = (points) => {
    const last = points[points.length - 1];
    return pulse && pulse.open && pulse.market_time > last[0] ? [...points, [pulse.market_time, last[1] + Number(pulse.open_pnl)]] : points;
  };
  return html`<${Panel} title="Net profit and drawdown" wide aside=${html`<${Select} label="Range" value=${days} options=${RANGES} onChange=${setDays} />`}>
    <${Shown} of=${held} when=${(points) => points.length < 2} empty="There is nothing to draw yet: it begins with the second closed trade.">
      ${(points) => html`<${Curve} points=${living(points.map((one) => [one.time, Number(one.net)]))} label="Net profit" />`}</${Shown}>
  </${Panel}>`;
}

function Today() {
  const held = useData("/results/day", { count: 7 }, { events: ["trade"] });
  const columns = [
    { name: "Day", lead: true, of: (one) => one.name },
    { name: "Trades", right: true, of: (one) => one.trades },
    { name: "Won", right: true, of: (one) => (one.trades ? percent(one.win_rate, 0) : DASH) },
    { name: "Net", right: true, of: (one) => html`<${Amount} value=${one.pnl} />` },
    { name: "Mean R", right: true, of: (one) => html`<${Amount} value=${one.mean_r} />` },
  ];
  return html`<${Panel} title="Last days">
    <${Shown} of=${held} empty="No trade has ended yet.">${(rows) => html`<${Table} columns=${columns} rows=${[...rows].reverse()} label="Results by day" />`}</${Shown}>
  </${Panel}>`;
}

function Parts({ pulse }) {
  if (!pulse) return html`<${Panel} title="Parts"><p class="quiet" role="status">Loading …</p></${Panel}>`;
  const oldest = Math.max(0, ...(pulse.feed_ages || []).map((one) => one[2]));
  const rows = [
    ["feed", pulse.connected && !pulse.stale.length, pulse.connected ? `${pulse.stale.length} silent, oldest ${lasted(oldest)}` : "not connected"],
    ["private stream", pulse.private_stream.connected, pulse.private_stream.connected ? `open for ${lasted(pulse.private_stream.seconds)}` : pulse.private_stream.reason],
    ["journal", pulse.ledger.state === "ok", `${pulse.ledger.records} records`],
    ...Object.entries(pulse.tiers).map(([name, one]) => [name, one.state === "ok", one.waiting ? `${one.waiting} wait, oldest ${lasted(one.oldest_s)}` : "nothing waits"]),
    ["candles", pulse.candles_waiting < 5000, `${pulse.candles_waiting} wait, ${pulse.candles_saved} saved`],
    ["event loop", pulse.loop_lag_p99_ms < 100, `p99 ${pulse.loop_lag_p99_ms} ms`],
  ];
  return html`<${Panel} title="Parts">
    <ul class="parts">${rows.map(([name, good, said]) => html`<li><${Badge} tone=${good ? "good" : "bad"}>${name}</${Badge}><span>${said}</span></li>`)}</ul>
  </${Panel}>`;
}
