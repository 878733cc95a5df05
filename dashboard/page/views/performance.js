// What trades made: by day, week and month, by symbol, strategy, exit and hour.

import { Amount, Bars, Figure, Panel, Select, Shown, Table, html, useData, useState } from "../parts.js";
import { DASH, coin, lasted, number, percent, words } from "../format.js";

const WAYS = [["day", "day"], ["week", "week"], ["month", "month"], ["symbol", "symbol"], ["strategy", "strategy"], ["exit", "kind of exit"], ["hour", "hour of entry (UTC)"]];
const PERIODS = { day: [["14", "two weeks"], ["30", "30 days"], ["90", "90 days"], ["365", "a year"]], week: [["12", "12 weeks"], ["26", "half a year"], ["52", "a year"], ["260", "five years"]], month: [["12", "a year"], ["24", "two years"], ["60", "five years"]] };
const DAYS = [["", "all time"], ["7", "7 days"], ["30", "30 days"], ["90", "90 days"], ["365", "a year"]];
const FULL = 31;

export function View() {
  const [by, setBy] = useState("day");
  const [chosen, choose] = useState({ day: "30", week: "12", month: "12", days: "" });
  const period = by in PERIODS;
  const key = period ? by : "days";
  return html`<div class="stack">
    <${Summary} />
    <div class="row wrap">
      <${Select} label="By" value=${by} options=${WAYS} onChange=${setBy} />
      <${Select} label="Time" value=${chosen[key]} options=${period ? PERIODS[by] : DAYS} onChange=${(value) => choose({ ...chosen, [key]: value })} />
    </div>
    <${Asked} key=${`${by} ${chosen[key]}`} by=${by} period=${period} time=${chosen[key]} />
  </div>`;
}

// one for each question, so that no answer stands under another's heading
function Asked({ by, period, time }) {
  const held = useData(period ? `/results/${by}` : `/groups/${by}`, period ? { count: time } : { days: time }, { events: ["trade"] });
  return html`<${Shown} of=${held} empty="No trade has ended yet.">${(rows) => html`<${Made} by=${by} period=${period} rows=${rows} />`}</${Shown}>`;
}

function Summary() {
  const held = useData("/statistics", {}, { events: ["trade"] });
  return html`<${Panel} title="All trades"><${Shown} of=${held} when=${() => false}>${(data) => html`<dl class="figures">
    <${Figure} name="Net" value=${html`<${Amount} value=${data.total_pnl} />`} />
    <${Figure} name="Trades" value=${data.total_trades} note=${`${data.wins} won, ${data.losses} lost`} />
    <${Figure} name="Win rate" value=${data.total_trades ? percent(data.win_rate) : DASH} />
    <${Figure} name="Profit factor" value=${data.profit_factor === null ? DASH : number(data.profit_factor)} />
    <${Figure} name="Mean win" value=${html`<${Amount} value=${data.wins ? data.avg_win : null} />`} />
    <${Figure} name="Mean loss" value=${html`<${Amount} value=${data.losses ? data.avg_loss : null} />`} />
    <${Figure} name="Max drawdown" value=${number(data.slump)} />
    <${Figure} name="Fees" value=${number(data.total_fees)} />
    <${Figure} name="Funding" value=${html`<${Amount} value=${data.total_funding} />`} />
  </dl>`}</${Shown}></${Panel}>`;
}

function Made({ by, period, rows }) {
  // periods come newest first and with those in which nothing ended; hours belong in the order of the day
  const order = by === "hour" ? [...rows].sort((a, b) => a.name.localeCompare(b.name)) : rows;
  const traded = order.filter((one) => one.trades);
  const named = (name) => (by === "symbol" ? coin(name) : period ? name : words(name));
  const what = WAYS.find((one) => one[0] === by)[1];
  const bars = traded.map((one) => ({ name: named(one.name), value: Number(one.pnl), note: `${one.trades} trades, ${percent(one.win_rate, 0)} won` }));
  const more = bars.length - FULL;
  return html`<div class="grid">
    <${Panel} title=${`Net profit by ${what}`}>
      <${Bars} rows=${bars.slice(0, FULL)} label=${`Net profit by ${what}`} empty="No trade ended within this time." />
      ${more > 0 && html`<p class="quiet">${more} more in the table.</p>`}
    </${Panel}>
    <${Panel} title="In figures" wide=${rows.length > FULL}>
      <${Table} columns=${columns(what, named)} rows=${traded.length ? [total(traded), ...traded] : []} label=${`Results by ${what}`} keyOf=${(one) => one.name} empty="No trade ended within this time." />
    </${Panel}>
  </div>`;
}

function total(rows) {
  const sum = (of) => rows.reduce((all, one) => all + Number(of(one)), 0);
  const trades = sum((one) => one.trades);
  const mean = (name) => sum((one) => one[name] * one.trades) / trades;
  return { name: "", trades, win_rate: (100 * sum((one) => one.wins)) / trades, pnl: sum((one) => one.pnl), fees: sum((one) => one.fees), mean_r: mean("mean_r"), held_s: mean("held_s") };
}

function columns(what, named) {
  return [
    { name: what, lead: true, of: (one) => (one.name ? named(one.name) : html`<strong>All</strong>`) },
    { name: "Net", right: true, lead: true, of: (one) => html`<${Amount} value=${one.pnl} />` },
    { name: "Trades", right: true, of: (one) => one.trades },
    { name: "Won", right: true, of: (one) => percent(one.win_rate, 0) },
    { name: "Mean R", right: true, of: (one) => html`<${Amount} value=${one.mean_r} />` },
    { name: "Fees", right: true, of: (one) => number(one.fees) },
    { name: "Mean duration", right: true, of: (one) => lasted(one.held_s) },
  ];
}
