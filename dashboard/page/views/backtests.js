// Backtests that were done: all of them, one whole, two side by side; and a new one.

import { Amount, Badge, Figure, Panel, Select, Shown, Table, Trouble, html, useData, useEffect, useState } from "../parts.js";
import { post, remove } from "../api.js";
import { Candles } from "../chart.js";
import { Curve } from "../curve.js";
import { DASH, coin, lasted, moment, number, percent, price, signed, whole, words } from "../format.js";
import { TONES, useWorks } from "../works.js";

const LISTED = 100;
const PAGE = 25;
const BARS = 400;

const asked = () => new URLSearchParams(location.hash.split("?")[1] || "");
const day = (text) => String(text).slice(0, 10);
const named = (row) => (row.request.strategies.length ? row.request.strategies.map(words).join(", ") : "all strategies");
const coins = (row) => (row.request.symbols.length > 3 ? `${row.request.symbols.length} symbols` : row.request.symbols.map(coin).join(", "));
const ratio = (value) => (value === null || value === undefined ? DASH : number(value));

// what the address asks for, as links and the browser's own buttons change it
function useAsked() {
  const [found, find] = useState(asked());
  useEffect(() => {
    const moved = () => find(asked());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return [found.get("id"), found.get("with")];
}

export function View({ session }) {
  const [id, other] = useAsked();
  const held = useData("/backtests", {}, { everyS: 60 });
  return html`<div class="stack">
    <${Begin} session=${session} done=${held.reload} />
    <${Shown} of=${held} empty=${html`No backtest has been done yet. Begin one above, or: <code>python manage.py backtest run --days 30</code>`}>
      ${(rows) => html`<${All} rows=${rows} id=${id} other=${other} />`}</${Shown}>
    ${id && other && html`<${Compared} key=${`${id} ${other}`} one=${id} other=${other} />`}
    ${id && !other && html`<${One} key=${id} id=${id} />`}
  </div>`;
}

function All({ rows, id, other }) {
  const [sort, setSort] = useState({ key: "done_at", down: true });
  const value = { done_at: (row) => row.done_at, profit: (row) => row.figures.profit_percent, drawdown: (row) => row.figures.drawdown.percent, sharpe: (row) => row.figures.sharpe ?? -Infinity, trades: (row) => row.figures.total.trades }[sort.key];
  const order = [...rows].sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (sort.down ? -1 : 1));
  const columns = [
    { name: "Done", sort: "done_at", lead: true, of: (row) => html`<a href=${`#backtests?id=${row.id}`} aria-current=${row.id === id || row.id === other ? "true" : undefined}>${moment(row.done_at)}</a>` },
    { name: "Strategies", full: true, wrap: true, of: named },
    { name: "Of", wrap: true, of: (row) => `${coins(row)}, ${row.request.source}` },
    { name: "From", of: (row) => day(row.since) },
    { name: "To", of: (row) => day(row.until) },
    { name: "Trades", sort: "trades", right: true, of: (row) => whole(row.figures.total.trades) },
    { name: "Profit", sort: "profit", right: true, lead: true, of: (row) => html`<${Amount} value=${row.figures.profit_percent} unit=" %" />` },
    { name: "Drawdown", sort: "drawdown", right: true, of: (row) => percent(row.figures.drawdown.percent, 2) },
    { name: "Sharpe", sort: "sharpe", right: true, of: (row) => ratio(row.figures.sharpe) },
    { name: "Compare", of: (row) => id && row.id !== id ? html`<a href=${`#backtests?id=${id}&with=${row.id}`} aria-label=${`Compare with that of ${moment(row.done_at)}`}>side by side</a>` : row.id === id ? "shown below" : DASH },
  ];
  return html`<${Panel} title="Done" wide>
    <p class="quiet">${id ? "Set another one beside it to compare." : "Choose one to see its figures, trades and candles."}</p>
    <div class="tall"><${Table} columns=${columns} rows=${order.slice(0, LISTED)} label="Backtests that were done" sort=${sort} onSort=${(key) => setSort({ key, down: sort.key === key ? !sort.down : true })} keyOf=${(row) => row.id} /></div>
    ${rows.length > LISTED && html`<p class="quiet">${rows.length - LISTED} more: <code>python manage.py backtest list</code></p>`}
  </${Panel}>`;
}

// from the money that it began with
const profit = (data) => data.equity.map(([time, value]) => [time, Number(value) - Number(data.equity[0][1])]);

function Equity({ data, title = "Profit and drawdown" }) {
  return html`<${Panel} title=${title} wide>${data.equity.length > 1 ? html`<${Curve} points=${profit(data)} label="Net profit" />` : html`<p class="quiet empty">Nothing was open at any time.</p>`}</${Panel}>`;
}

function figures(data) {
  const { figures: held } = data;
  const fall = held.drawdown;
  return [
    ["Profit", html`<${Amount} value=${held.profit} />`, `${signed(held.profit_percent)} % of the wallet`],
    ["Buy and hold", html`<${Amount} value=${held.buy_and_hold} unit=" %" />`, "all symbols alike"],
    ["A year", held.cagr === null ? DASH : html`<${Amount} value=${held.cagr} unit=" %" />`, ""],
    ["Max drawdown", percent(fall.percent, 2), `${number(fall.money)}, ${moment(fall.peak_at)} to ${moment(fall.trough_at)}`],
    ["Sharpe", ratio(held.sharpe), ""], ["Sortino", ratio(held.sortino), ""], ["Calmar", ratio(held.calmar), ""],
    ["Profit factor", ratio(held.profit_factor), ""],
    ["Trades", whole(held.total.trades), `${percent(held.total.win_rate)} won; of ${whole(held.signals)} signals`],
    ["A trade", `${signed(held.expectancy_r, 3)} R`, `${signed(held.expectancy)} in money`],
    ["Exposure", percent(held.exposure), "of the time"], ["Fees", number(held.fees), ""],
    ["Funding", html`<${Amount} value=${held.funding} />`, ""],
  ];
}

function One({ id }) {
  const held = useData(`/backtests/${encodeURIComponent(id)}`, {});
  const [shown, show] = useState({ symbol: "", at: 0 });
  return html`<${Shown} of=${held} when=${() => false}>${(data) => html`<div class="stack">
    <${Panel} title=${`${named(data)}, ${coins(data)}`} wide aside=${html`<${Files} id=${data.id} />`}>
      <p class="quiet">${moment(data.since)} to ${moment(data.until)} on ${data.request.source}, ${whole(data.bars)} bars; done ${moment(data.done_at)}.</p>
      ${data.figures.liquidated_at > 0 && html`<p class="bad" role="status">Liquidated ${moment(data.figures.liquidated_at)}: the money was used up.</p>`}
      <dl class="figures">${figures(data).map(([name, value, note]) => html`<${Figure} name=${name} value=${value} note=${note} />`)}</dl>
    </${Panel}>
    <${Equity} data=${data} />
    <${Price} id=${data.id} data=${data} shown=${shown} />
    <${Trades} id=${data.id} data=${data} show=${show} />
    <div class="grid">${[["Strategy", data.figures.by_strategy, words], ["Symbol", data.figures.by_symbol, coin], ["Exit", data.figures.by_reason, words]].map(([name, groups, spoken]) => html`<${Groups} name=${name} groups=${groups} spoken=${spoken} />`)}
      <${About} data=${data} /></div>
  </div>`}</${Shown}>`;
}

function Files({ id }) {
  const path = `/api/v1/backtests/${encodeURIComponent(id)}`;
  return html`<div class="row wrap"><a class="button" href=${`${path}/report.html`} download=${`${id}.html`}>Report</a>
    <a class="button" href=${`${path}/trades.csv`} download=${`${id}.csv`}>Trades as CSV</a></div>`;
}

function Groups({ name, groups, spoken }) {
  const columns = [
    { name, lead: true, of: ([key]) => spoken(key) },
    { name: "Trades", right: true, of: ([, one]) => whole(one.trades) },
    { name: "Won", right: true, of: ([, one]) => percent(one.win_rate, 0) },
    { name: "Net", right: true, lead: true, of: ([, one]) => html`<${Amount} value=${one.pnl} />` },
    { name: "Mean R", right: true, of: ([, one]) => signed(one.mean_r, 3) },
  ];
  const rows = Object.entries(groups).sort((a, b) => Number(b[1].pnl) - Number(a[1].pnl));
  return html`<${Panel} title=${`By ${name.toLowerCase()}`}><div class="tall"><${Table} columns=${columns} rows=${rows} label=${`Results by ${name.toLowerCase()}`} keyOf=${([key]) => key} empty="No trade ended." /></div></${Panel}>`;
}

function About({ data }) {
  const refused = Object.entries(data.figures.refused).map(([gate, count]) => `${words(gate)} ${whole(count)}`).join(", ");
  const open = data.figures.open_positions.map((one) => `${coin(one.symbol)} ${one.side} ${signed(one.unrealised)}`).join(", ");
  return html`<${Panel} title="About it">
    <dl class="pairs">${[["signals refused", refused || "none"], ["open at the end", open || "none"], ["scores", data.request.ml], ["settings", data.config_hash], ["bars", data.data_hash], ["result", data.result_hash]].map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    ${data.notes.length > 0 && html`<h3>To be known</h3><ul>${data.notes.map((one) => html`<li>${one}</li>`)}</ul>`}
  </${Panel}>`;
}

function Trades({ id, data, show }) {
  const [symbol, setSymbol] = useState("");
  const [offset, setOffset] = useState(0);
  const held = useData(`/backtests/${encodeURIComponent(id)}/trades`, { symbol, offset, limit: PAGE });
  const columns = [
    { name: "Symbol", lead: true, of: (one) => coin(one.symbol) },
    { name: "Strategy", of: (one) => words(one.strategy_name) },
    { name: "Side", of: (one) => (one.side === "long" ? "↗ long" : "↘ short") },
    { name: "Entry", of: (one) => moment(one.entry_time) },
    { name: "At", right: true, of: (one) => price(one.entry_price) },
    { name: "Duration", right: true, of: (one) => lasted((Date.parse(one.exit_time) - Date.parse(one.entry_time)) / 1000) },
    { name: "Out at", right: true, of: (one) => price(one.exit_price) },
    { name: "Why", of: (one) => words(one.exit_reason) },
    { name: "Net", right: true, lead: true, of: (one) => html`<${Amount} value=${one.pnl_usd} />` },
    { name: "R", right: true, of: (one) => signed(one.r_multiple) },
    { name: "Chart", of: (one) => html`<button type="button" aria-label=${`Show on the chart, ${coin(one.symbol)} ${moment(one.entry_time)}`} onClick=${() => show({ symbol: one.symbol, at: Date.parse(one.entry_time), until: Date.parse(one.exit_time) })}>Show</button>` },
  ];
  const choose = (name) => {
    setOffset(0);
    setSymbol(name);
  };
  return html`<${Panel} title="Trades of it" wide aside=${html`<${Select} label="Symbol" value=${symbol} options=${[["", "all"], ...data.symbols.map((one) => [one, coin(one)])]} onChange=${choose} />`}>
    <${Shown} of=${held} when=${() => false}>${(page) => html`
      <${Table} columns=${columns} rows=${page.trades} label="Trades of the backtest" keyOf=${(one) => one.trade_id} empty="No trade ended." />
      <div class="row wrap end"><span class="quiet">${page.total ? `${offset + 1} to ${offset + page.trades.length} of ${whole(page.total)}, the newest first` : ""}</span>
        <button type="button" disabled=${!offset} onClick=${() => setOffset(Math.max(0, offset - PAGE))}>Newer</button>
        <button type="button" disabled=${offset + PAGE >= page.total} onClick=${() => setOffset(offset + PAGE)}>Older</button></div>`}</${Shown}>
  </${Panel}>`;
}

// candles of one symbol with its entries and exits; a trade far back is shown by the bars around it
function Price({ id, data, shown }) {
  const first = Object.entries(data.figures.by_symbol).sort((a, b) => b[1].trades - a[1].trades)[0];
  const [symbol, setSymbol] = useState(first ? first[0] : data.symbols[0]);
  const [timeframe, setTimeframe] = useState("");
  const [went, go] = useState({ at: 0, until: 0 });
  const [older, setOlder] = useState([]);
  useEffect(() => {
    if (!shown.at) return;
    setSymbol(shown.symbol);
    go({ at: shown.at, until: shown.until });
  }, [shown]);
  const path = `/backtests/${encodeURIComponent(id)}/chart`;
  const plain = useData(path, { symbol, timeframe, count: 1 });
  const step = plain.data && plain.data.symbol === symbol ? plain.data.step_ms : 0;
  const before = went.at && step ? Math.min(Date.parse(data.until), went.until + (BARS / 2) * step) : "";
  const held = useData(step ? path : null, { symbol, timeframe, before, count: BARS });
  const key = `${symbol} ${timeframe} ${before}`;
  const fits = held.data && held.data.symbol === symbol && (!timeframe || held.data.timeframe === timeframe);
  useEffect(() => setOlder([]), [key]);
  const drawn = fits && { ...held.data, past: path, marks: [...older.filter((one) => one.entry[0] < held.data.bars[0]?.time), ...held.data.marks] };
  const choose = (change) => (value) => {
    go({ at: 0, until: 0 });
    change(value);
  };
  const frames = plain.data ? plain.data.timeframes : [];
  return html`<${Panel} title="Candles with its trades" wide aside=${html`<div class="row wrap">
      <${Select} label="Candles of" value=${symbol} options=${data.symbols.map((one) => [one, coin(one)])} onChange=${choose(setSymbol)} />
      <${Select} label="Timeframe" value=${timeframe || (plain.data && plain.data.timeframe) || ""} options=${frames} onChange=${choose(setTimeframe)} /></div>`}>
    <${Shown} of=${step ? held : plain} when=${(found) => !found.bars.length} empty="Its bars are stored no more.">
      ${() => (drawn && drawn.bars.length ? html`<${Candles} key=${`${key} ${drawn.bars[drawn.bars.length - 1].time}`} data=${drawn} phantoms=${false} strategy="" went=${went} found=${(marks) => setOlder((known) => [...marks, ...known])} />` : html`<p class="quiet" role="status">Loading …</p>`)}
    </${Shown}></${Panel}>`;
}

function Compared({ one, other }) {
  const [left, right] = [useData(`/backtests/${encodeURIComponent(one)}`, {}), useData(`/backtests/${encodeURIComponent(other)}`, {})];
  const apart = useData("/backtests/compared", { one, other });
  return html`<${Shown} of=${left} when=${() => false}>${(a) => html`<${Shown} of=${right} when=${() => false}>${(b) => html`<${Beside} a=${a} b=${b} apart=${apart} />`}</${Shown}>`}</${Shown}>`;
}

function Beside({ a, b, apart }) {
  const heads = [a, b].map((data, i) => `${"AB"[i]}: ${moment(data.done_at)}`);
  const [left, right] = [figures(a), figures(b)];
  const rows = [["What", named(a), named(b)], ["Of", `${coins(a)}, ${a.request.source}`, `${coins(b)}, ${b.request.source}`],
    ["From", moment(a.since), moment(b.since)], ["To", moment(a.until), moment(b.until)],
    ...left.map(([name, value, note], i) => [name, html`${value}<small>${note}</small>`, html`${right[i][1]}<small>${right[i][2]}</small>`])];
  const columns = [{ name: "Figure", full: true, of: (row) => row[0] }, ...heads.map((name, i) => ({ name, of: (row) => row[i + 1], wrap: true }))];
  const text = (value) => (value === null || value === undefined ? DASH : Array.isArray(value) ? value.join(", ") || "all" : typeof value === "object" ? JSON.stringify(value) : String(value));
  const differing = [{ name: "Setting", full: true, of: (row) => html`<code>${row[0]}</code>` }, ...heads.map((name, i) => ({ name, full: true, wrap: true, of: (row) => text(row[1][i]) }))];
  return html`<div class="stack">
    <div class="grid"><${Equity} data=${a} title=${`Profit of ${heads[0]}`} /><${Equity} data=${b} title=${`Profit of ${heads[1]}`} /></div>
    <${Panel} title="Side by side" wide aside=${html`<a class="button" href=${`#backtests?id=${a.id}`}>Only the first</a>`}><${Table} columns=${columns} rows=${rows} label="Figures side by side" keyOf=${(row) => row[0]} /></${Panel}>
    <${Panel} title="Asked differently" wide><${Shown} of=${apart} when=${() => false}>${(found) => html`<${Table} columns=${differing} rows=${Object.entries(found)} label="In what they were asked differently" keyOf=${(row) => row[0]} empty="Nothing: the same request, settings and bars." />`}</${Shown}></${Panel}>
  </div>`;
}

// a form, and how far those are that were begun
function Begin({ session, done }) {
  const { held, rows } = useWorks();
  const mine = (rows || []).filter((one) => one.kind === "backtest").slice(0, 5);
  const ended = mine.filter((one) => one.ended_at).length;
  useEffect(() => done(), [ended]);
  return html`<${Panel} title="New backtest" wide>
    ${session.signed_in ? html`<${Form} begun=${held.reload} />` : html`<p class="quiet">Who has signed in to act can begin one here.</p>`}
    ${mine.length > 0 && html`<ul class="works" aria-label="Backtests begun here">${mine.map((one) => html`<${Begun} key=${one.number} one=${one} session=${session} ended=${held.reload} />`)}</ul>`}
  </${Panel}>`;
}

function Begun({ one, session, ended }) {
  const [error, fail] = useState(null);
  const cancel = () => remove(`/works/${one.number}`).then(ended, fail);
  return html`<li>
    <div class="row wrap"><${Badge} tone=${TONES[one.state]}>${one.state}</${Badge}><span>begun ${moment(one.started_at)}${one.state === "running" ? `, ${one.step || one.said}` : ""}</span><span class="space"></span>
      ${one.state === "running" && session.signed_in && html`<button type="button" onClick=${cancel}>Cancel</button>`}</div>
    ${one.state === "running" && html`<progress max="100" value=${one.step ? one.percent : undefined} aria-label=${`How far ${one.step || "it"} is`}></progress>`}
    ${["failed", "ended"].includes(one.state) && html`<pre role="group" tabindex="0" aria-label="What it said">${one.said}</pre>`}
    ${error && html`<${Trouble} error=${error} />`}</li>`;
}

function Form({ begun }) {
  const known = useData("/symbols", {});
  const stored = useData("/coverage", {});
  const [said, say] = useState(null);
  const [busy, setBusy] = useState(false);
  const send = async (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    const text = (name) => String(given.get(name) || "").trim();
    setBusy(true);
    try {
      await post("/backtests", { source: text("source"), symbols: text("symbols").split(/[\s,]+/).filter(Boolean), strategies: given.getAll("strategies"), since: text("since"), until: text("until"), ml: text("ml"), wallet: text("wallet"), fee: text("fee"), allow_gaps: given.has("allow_gaps") });
      say(null);
      begun();
    } catch (error) {
      say(error);
    }
    setBusy(false);
  };
  const sources = [...new Set((stored.data || []).map((one) => one.source))];
  return html`<form class="stack" onSubmit=${send} aria-label="Begin a backtest">
    <div class="row wrap">
      <label class="field"><span>Symbols</span><input name="symbols" placeholder="as configured" list="stored-symbols" /></label>
      <datalist id="stored-symbols">${[...new Set((stored.data || []).map((one) => one.symbol))].map((one) => html`<option value=${one} />`)}</datalist>
      <label class="field"><span>From</span><input name="since" placeholder="2024-01, 30d" size="12" /></label>
      <label class="field"><span>Until</span><input name="until" placeholder="all there is" size="12" /></label>
      <label class="field"><span>Bars of</span><select name="source"><option value="">as configured</option>${sources.map((one) => html`<option value=${one}>${one}</option>`)}</select></label>
      <label class="field"><span>Scores</span><select name="ml"><option value="off">take all signals</option><option value="on">as the bot judges</option><option value="walk-forward">walk forward</option></select></label>
      <label class="field"><span>Wallet</span><input name="wallet" inputmode="decimal" placeholder="as configured" size="12" /></label>
      <label class="field"><span>Taker fee</span><input name="fee" inputmode="decimal" placeholder="as configured" size="12" /></label>
    </div>
    <fieldset class="row wrap"><legend>Strategies (none: all)</legend>${((known.data && known.data.strategies) || []).map((one) => html`<label class="check"><input type="checkbox" name="strategies" value=${one} /> ${words(one)}</label>`)}
      <label class="check"><input type="checkbox" name="allow_gaps" /> go on where bars are missing</label></fieldset>
    ${said && html`<p role="alert" class="bad">${said.message}</p>`}
    <div class="row"><button class="main" disabled=${busy}>${busy ? "…" : "Begin"}</button></div>
  </form>`;
}
