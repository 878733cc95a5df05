// Candles with what was done on them, live; a list of symbols beside them.

import { Amount, Panel, Select, Shown, Table, html, useData, useEffect, usePulse, useState } from "../parts.js";
import { Candles } from "../chart.js";
import { coin, moment, price, words } from "../format.js";

const asked = () => new URLSearchParams(location.hash.split("?")[1] || "");

export function View() {
  const known = useData("/symbols", {});
  return html`<${Shown} of=${known} when=${(data) => !data.symbols.length} empty="No symbol is followed yet.">${(data) => html`<${Chosen} known=${data} />`}</${Shown}>`;
}

function Chosen({ known }) {
  const first = known.timeframes.includes("15m") ? "15m" : known.timeframes[0];
  const [symbol, setSymbol] = useState(known.symbols.includes(asked().get("symbol")) ? asked().get("symbol") : known.symbols[0]);
  const [timeframe, setTimeframe] = useState(known.timeframes.includes(asked().get("timeframe")) ? asked().get("timeframe") : first);
  const [phantoms, setPhantoms] = useState(true);
  const [strategy, setStrategy] = useState("");
  const [went, go] = useState({ at: Number(asked().get("at")) || 0 });
  const [older, setOlder] = useState([]);
  const stored = useData("/chart/timeframes", { symbol });
  const held = useData("/chart", { symbol, timeframe, count: 400 }, { events: ["trade", "entry"] });
  const fits = held.data && held.data.symbol === symbol && held.data.timeframe === timeframe;
  // marks of history do not change; those of the newest bars are told anew
  useEffect(() => setOlder([]), [symbol, timeframe]);
  const data = fits && { ...held.data, marks: [...older.filter((one) => one.entry[0] < held.data.bars[0]?.time), ...held.data.marks] };
  const choose = (name) => {
    go({ at: 0 });
    setSymbol(name);
  };
  return html`<div class="stack">
    <div class="row wrap">
      <${Select} label="Symbol" value=${symbol} options=${known.symbols} onChange=${choose} />
      <${Select} label="Timeframe" value=${timeframe} options=${(stored.data || known.timeframes)} onChange=${(one) => { go({ at: 0 }); setTimeframe(one); }} />
      <${Select} label="Lines of" value=${strategy} options=${[["", "no strategy"], ...known.strategies.map((one) => [one, words(one)])]} onChange=${setStrategy} />
      <label class="check"><input type="checkbox" checked=${phantoms} onChange=${(e) => setPhantoms(e.target.checked)} /> refused signals</label>
    </div>
    <div class="beside">
      <${Panel} title=${`${coin(symbol)} ${timeframe}`} wide>
        <${Shown} of=${held} when=${(found) => !found.bars.length} empty="No bar of this series is at hand yet.">
          ${() => (data ? html`<${Candles} key=${`${symbol} ${timeframe}`} data=${data} phantoms=${phantoms} strategy=${strategy} went=${went} found=${(marks) => setOlder((before) => [...marks, ...before])} />` : html`<p class="quiet" role="status">Loading …</p>`)}
        </${Shown}>
      </${Panel}>
      <${Watched} symbols=${known.symbols} symbol=${symbol} choose=${choose} />
    </div>
    ${data && html`<${Panel} title="What was done" wide><${Done} marks=${shownMarks(data, phantoms)} go=${(at) => go({ at })} /></${Panel}>`}
  </div>`;
}

const shownMarks = (data, phantoms) => data.marks.filter((mark) => phantoms || mark.kind !== "phantom");

// every symbol with its price and what is open in it
function Watched({ symbols, symbol, choose }) {
  const pulse = usePulse();
  if (symbols.length < 2) return null;
  const open = new Map((pulse ? pulse.positions : []).map((one) => [one.symbol, one]));
  return html`<${Panel} title="Symbols"><ul class="watched" aria-label="Symbols with their prices">${symbols.map((name) => html`<li key=${name}>
    <button type="button" class="bare" aria-pressed=${name === symbol} onClick=${() => choose(name)}>
      <span>${coin(name)}</span><span>${price(pulse && pulse.prices[name] && pulse.prices[name][0])}</span>
      <span>${open.has(name) && html`<${Amount} value=${open.get(name).r} unit=" R" />`}</span></button></li>`)}</ul></${Panel}>`;
}

const KINDS = { trade: "trade", open: "open", phantom: "refused" };

function Done({ marks, go }) {
  const columns = [
    { name: "What", full: true, of: (one) => (one.kind === "phantom" ? `refused by ${one.label}` : KINDS[one.kind]) },
    { name: "Side", of: (one) => (one.long ? "↗ long" : "↘ short") },
    { name: "Entry", of: (one) => moment(one.entry[0]) },
    { name: "Entry price", right: true, of: (one) => price(one.entry[1]) },
    { name: "Exit", of: (one) => (one.exit ? moment(one.exit[0]) : "open") },
    { name: "Exit price", right: true, of: (one) => (one.exit ? price(one.exit[1]) : "–") },
    { name: "Ended", of: (one) => (one.exit ? `${one.good ? "▲ in profit" : "▼ in loss"} ${one.kind === "trade" ? one.label : ""}` : one.label) },
    { name: "Chart", lead: true, of: (one) => html`<button type="button" aria-label=${`Show on the chart, ${moment(one.entry[0])}`} onClick=${() => go(one.entry[0])}>Show</button>` },
  ];
  const rows = [...marks].sort((a, b) => b.entry[0] - a.entry[0]).slice(0, 100);
  return html`<${Table} columns=${columns} rows=${rows} label="What was done on this chart" empty="Nothing was done within these bars." />`;
}
