// What became of every signal, and what refusing cost or saved.

import { Amount, Bars, Figure, Intervals, Panel, Select, Shown, Table, html, useData, useState } from "../parts.js";
import { DASH, coin, moment, number, percent, price, words } from "../format.js";

export function View() {
  const known = useData("/symbols", {});
  const [symbol, setSymbol] = useState("");
  const [strategy, setStrategy] = useState("");
  const held = useData("/phantoms", { symbol, strategy }, { events: ["refused", "entry"], everyS: 15 });
  return html`<div class="stack">
    <div class="row wrap">
      <${Select} label="Symbol" value=${symbol} options=${[["", "all"], ...((known.data && known.data.symbols) || [])]} onChange=${setSymbol} />
      <${Select} label="Strategy" value=${strategy} options=${[["", "all"], ...((known.data && known.data.strategies) || [])]} onChange=${setStrategy} />
    </div>
    <${Shown} of=${held} when=${() => false}>${(data) => html`<${Figures} data=${data} />`}</${Shown}>
    <${Newest} symbol=${symbol} strategy=${strategy} gates=${held.data ? Object.keys(held.data.gates) : []} />
  </div>`;
}

function Figures({ data }) {
  const refused = data.rejection_stats;
  const judged = data.ml_accuracy;
  return html`<div class="grid">
    <${Panel} title="What each gate saved or cost" wide>
      <p class="verdict">${verdict(data.by_gate)}</p>
      <p class="quiet">What the refused signals would have made, in R after fees, with 95 % intervals from their days. Right of zero refusing cost, left of it saved.</p>
      <${Judged} rows=${data.by_gate} label="What each gate saved or cost" />
    </${Panel}>
    <${Panel} title="Signals" wide>
      <dl class="figures">
        <${Figure} name="Followed" value=${data.total} note=${`${data.active} open`} />
        <${Figure} name="Taken" value=${data.executed} />
        <${Figure} name="Refused" value=${data.rejected} />
        <${Figure} name="Would have won" value=${refused.would_have_won} note=${`of ${refused.total_rejected} refused that ended`} />
        <${Figure} name="Missed profit" value=${`${number(refused.missed_r)} R`} />
        <${Figure} name="Avoided loss" value=${`${number(refused.avoided_r)} R`} />
        <${Figure} name="The score was right" value=${judged.accuracy_pct === null ? DASH : percent(judged.accuracy_pct)} note="of those it judged" />
      </dl>
    </${Panel}>
    <${Panel} title="By strategy"><${Judged} rows=${data.by_strategy} label="What refusing saved or cost by strategy" /></${Panel}>
    <${Panel} title="By symbol"><${Bars} rows=${data.by_symbol.slice(0, 15).map((one) => ({ name: coin(one.name), value: Number(one.net_r), note: what(one) }))}
      label="What refusing saved or cost by symbol" unit=" R" digits=${1} empty="No refused signal has ended yet." /></${Panel}>
  </div>`;
}

const TONES = { cost: "bad", saved: "good" };
const what = (one) => `${one.refused} refused, ${one.would_have_won} would have won; missed ${number(one.missed_r, 1)} R, avoided ${number(one.avoided_r, 1)} R`;
const listed = (rows) => rows.map((one) => words(one.name)).join(", ");

// in a sentence: only what is told from chance is said to have saved or cost
function verdict(rows) {
  if (!rows.length) return "No refused signal has ended yet.";
  const [saved, cost, few] = ["saved", "cost", "too few days"].map((name) => rows.filter((one) => one.verdict === name));
  const said = [saved.length && `${listed(saved)} saved`, cost.length && `${listed(cost)} cost`].filter(Boolean);
  if (said.length) return `By their intervals ${said.join("; ")}${saved.length + cost.length < rows.length ? "; of the others chance could have made as much" : ""}.`;
  return few.length === rows.length ? "Too few days to say what any gate saved or cost: an interval takes eight." : "No gate is shown to save or to cost: chance could have made as much.";
}

function Judged({ rows, label }) {
  const shown = rows.map((one) => ({ name: words(one.name), value: Number(one.net_r), low: one.low_r, high: one.high_r, verdict: one.verdict, tone: TONES[one.verdict], note: what(one) }));
  return html`<${Intervals} rows=${shown} label=${label} unit=" R" empty="No refused signal has ended yet." />`;
}

function Newest({ symbol, strategy, gates }) {
  const [gate, setGate] = useState("");
  const held = useData("/phantoms/list", { symbol, strategy, gate, limit: 100 }, { events: ["refused", "entry"], everyS: 15 });
  const columns = [
    { name: "Signal", of: (one) => moment(one.signal_time) },
    { name: "Symbol", of: (one) => coin(one.symbol) },
    { name: "Strategy", of: (one) => words(one.strategy) },
    { name: "Side", of: (one) => (one.side === "long" ? "↗ long" : "↘ short") },
    { name: "Became", full: true, of: (one) => (one.gate ? `refused: ${words(one.gate)}` : "taken") },
    { name: "Score", right: true, of: (one) => (one.score === null ? DASH : number(one.score, 0)) },
    { name: "Entry", right: true, of: (one) => price(one.entry) },
    { name: "Stop", right: true, of: (one) => price(one.stop) },
    { name: "Target", right: true, of: (one) => price(one.target) },
    { name: "Outcome", of: (one) => one.outcome || "open" },
    { name: "R", right: true, of: (one) => (one.outcome ? html`<${Amount} value=${one.r} />` : DASH) },
  ];
  return html`<${Panel} title="Newest signals" wide aside=${html`<${Select} label="Gate" value=${gate} options=${[["", "all"], ...gates]} onChange=${setGate} />`}>
    <${Shown} of=${held} empty="No signal yet. Strategies need some closed bars first.">${(rows) => html`<${Table} columns=${columns} rows=${rows} label="Newest signals" keyOf=${(one) => one.phantom_id} />`}</${Shown}>
  </${Panel}>`;
}
