// Closed trades: filtered, sorted, exported, each with its executions.

import { Amount, Dialog, Figure, Panel, Select, Shown, Table, Trouble, html, useData, useState } from "../parts.js";
import { query } from "../api.js";
import { DASH, coin, lasted, moment, number, price, signed, words } from "../format.js";

const PAGE = 50;

export function View() {
  const [asked, ask] = useState({ symbol: "", strategy: "", exit_reason: "", side: "", days: "", sort: "exit_time", descending: true, offset: 0 });
  const [opened, open] = useState("");
  const held = useData("/trades", { ...asked, limit: PAGE }, { events: ["trade"] });
  const set = (name) => (value) => ask({ ...asked, [name]: value, offset: 0 });
  const sorted = (key) => ask({ ...asked, sort: key, descending: asked.sort === key ? !asked.descending : true, offset: 0 });
  return html`<${Shown} of=${held} when=${() => false}>${(data) => html`<div class="stack">
    <div class="row wrap">
      <${Select} label="Symbol" value=${asked.symbol} options=${[["", "all"], ...data.symbols]} onChange=${set("symbol")} />
      <${Select} label="Strategy" value=${asked.strategy} options=${[["", "all"], ...data.strategies]} onChange=${set("strategy")} />
      <${Select} label="Side" value=${asked.side} options=${[["", "both"], "long", "short"]} onChange=${set("side")} />
      <${Select} label="Exit" value=${asked.exit_reason} options=${[["", "all"], ...data.exits]} onChange=${set("exit_reason")} />
      <${Select} label="Time" value=${asked.days} options=${[["", "all time"], ["1", "1 day"], ["7", "7 days"], ["30", "30 days"], ["365", "a year"]]} onChange=${set("days")} />
      <a class="button" href=${`/api/v1/trades.csv${query({ symbol: asked.symbol, strategy: asked.strategy, exit_reason: asked.exit_reason, side: asked.side, days: asked.days })}`} download>Export as CSV</a>
    </div>
    <${Panel} title=${`${data.total} trades, net ${signed(data.net)}`} wide>
      <${Sum} rows=${data.trades} total=${data.total} />
      <${Table} columns=${columns(open)} rows=${data.trades} label="Closed trades" sort=${{ key: asked.sort, down: asked.descending }} onSort=${sorted}
        keyOf=${(one) => one.trade_id} empty=${data.symbols.length ? "No trade fits; take a filter away." : "No trade has ended yet."} />
      <${Pages} total=${data.total} offset=${asked.offset} go=${(offset) => ask({ ...asked, offset })} />
    </${Panel}>
    ${opened && html`<${Detail} name=${opened} close=${() => open("")} />`}
  </div>`}</${Shown}>`;
}

const onChart = (one) => `#charts?symbol=${encodeURIComponent(one.symbol)}&timeframe=${one.timeframe}&at=${Date.parse(one.entry_time)}`;

// what the trades of the page made; the heading says what all of them did
function Sum({ rows, total }) {
  const sum = (name) => rows.reduce((all, one) => all + Number(one[name]), 0);
  const won = rows.filter((one) => Number(one.pnl_usd) > 0).length;
  if (!rows.length) return null;
  return html`<dl class="figures">
    <${Figure} name=${rows.length < total ? "Shown" : "Trades"} value=${rows.length} note=${`${won} won, ${rows.length - won} lost`} />
    <${Figure} name="Net" value=${html`<${Amount} value=${sum("pnl_usd")} />`} />
    <${Figure} name="R" value=${html`<${Amount} value=${sum("r_multiple")} />`} />
    <${Figure} name="Fees" value=${number(sum("fees"))} />
    <${Figure} name="Funding" value=${html`<${Amount} value=${sum("funding")} />`} />
  </dl>`;
}

function columns(open) {
  return [
    { name: "Ended", sort: "exit_time", of: (one) => moment(one.exit_time) },
    { name: "Symbol", sort: "symbol", lead: true, of: (one) => coin(one.symbol) },
    { name: "Side", sort: "side", of: (one) => (one.side === "long" ? "↗ long" : "↘ short") },
    { name: "Strategy", sort: "strategy_name", wrap: true, of: (one) => words(one.strategy_name) },
    { name: "Size", right: true, of: (one) => number(Number(one.quantity) * Number(one.entry_price), 0) },
    { name: "Duration", right: true, of: (one) => lasted((new Date(one.exit_time) - new Date(one.entry_time)) / 1000) },
    { name: "Entry", right: true, of: (one) => price(one.entry_price) },
    { name: "Exit", right: true, of: (one) => price(one.exit_price) },
    { name: "Net", right: true, lead: true, sort: "pnl_usd", of: (one) => html`<${Amount} value=${one.pnl_usd} />` },
    { name: "R", right: true, sort: "r_multiple", of: (one) => html`<${Amount} value=${one.r_multiple} />` },
    { name: "Fees", right: true, sort: "fees", of: (one) => number(one.fees) },
    { name: "Score", right: true, sort: "score", of: (one) => (one.score === null ? DASH : number(one.score, 0)) },
    { name: "Reason", sort: "exit_reason", wrap: true, of: (one) => (one.touched ? `${words(one.exit_reason)} · by hand: ${words(one.touched).replaceAll(",", ", ")}` : words(one.exit_reason)) },
    { name: "Details", lead: true, of: (one) => html`<button type="button" aria-label=${`Details of the trade ${one.trade_id}`} onClick=${() => open(one.trade_id)}>Show</button>
      <a aria-label=${`The trade in ${coin(one.symbol)}, ${moment(one.entry_time)}, on the chart`} href=${onChart(one)}>Chart</a>` },
  ];
}

function Pages({ total, offset, go }) {
  if (total <= PAGE) return null;
  return html`<div class="row end"><span>${offset + 1} to ${Math.min(total, offset + PAGE)} of ${total}</span>
    <button type="button" disabled=${offset === 0} onClick=${() => go(Math.max(0, offset - PAGE))}>Newer</button>
    <button type="button" disabled=${offset + PAGE >= total} onClick=${() => go(offset + PAGE)}>Older</button></div>`;
}

function Detail({ name, close }) {
  const held = useData(`/trades/${name}`, {});
  const fills = [
    { name: "Time", of: (one) => moment(one.time) },
    { name: "Why", of: (one) => one.cause },
    { name: "Quantity", right: true, of: (one) => one.qty },
    { name: "Price", right: true, of: (one) => price(one.price) },
    { name: "Fee", right: true, of: (one) => number(one.fee, 4) },
  ];
  return html`<${Dialog} title="Trade" close=${close}>
    ${held.error && html`<${Trouble} error=${held.error} />`}
    ${held.data && html`<p><code>${held.data.id}</code></p>
      ${held.data.trade && html`<dl class="pairs">${[
        ["Symbol", held.data.trade.symbol], ["Entered", moment(held.data.trade.entry_time)], ["Left", moment(held.data.trade.exit_time)],
        ["Quantity", held.data.trade.quantity], ["Leverage", held.data.trade.leverage], ["Net", signed(held.data.trade.pnl_usd)],
        ["Funding", signed(held.data.trade.funding, 4)], ["Best", `${signed(held.data.trade.max_favourable_r)} R`], ["Worst", `${signed(held.data.trade.max_adverse_r)} R`],
      ].map(([key, value]) => html`<div><dt>${key}</dt><dd>${value}</dd></div>`)}</dl>`}
      <${Table} columns=${fills} rows=${held.data.fills} label="Executions" />`}
    <div class="row end"><button type="button" onClick=${close}>Close</button></div>
  </${Dialog}>`;
}
