// Candles with what was done on them, live.

import { Panel, Select, Shown, Table, html, useData, useEffect, useRef, useState } from "../parts.js";
import { listen } from "../live.js";
import { coin, moment, price } from "../format.js";

const asked = () => new URLSearchParams(location.hash.split("?")[1] || "");

export function View() {
  const known = useData("/symbols", {});
  return html`<${Shown} of=${known} when=${(data) => !data.symbols.length} empty="No symbol is followed yet.">${(data) => html`<${Chosen} known=${data} />`}</${Shown}>`;
}

function Chosen({ known }) {
  const [symbol, setSymbol] = useState(known.symbols.includes(asked().get("symbol")) ? asked().get("symbol") : known.symbols[0]);
  const [timeframe, setTimeframe] = useState(known.timeframes.includes("15m") ? "15m" : known.timeframes[0]);
  const [phantoms, setPhantoms] = useState(true);
  const held = useData("/chart", { symbol, timeframe, count: 400 }, { events: ["trade", "entry"] });
  const fits = held.data && held.data.symbol === symbol && held.data.timeframe === timeframe;
  return html`<div class="stack">
    <div class="row wrap">
      <${Select} label="Symbol" value=${symbol} options=${known.symbols} onChange=${setSymbol} />
      <${Select} label="Timeframe" value=${timeframe} options=${known.timeframes} onChange=${setTimeframe} />
      <label class="check"><input type="checkbox" checked=${phantoms} onChange=${(e) => setPhantoms(e.target.checked)} /> refused signals</label>
    </div>
    <${Panel} title=${`${coin(symbol)} ${timeframe}`} wide>
      <${Shown} of=${held} when=${(data) => !data.bars.length} empty="No bar of this series is at hand yet.">
        ${(data) => (fits ? html`<${Candles} key=${`${symbol} ${timeframe}`} data=${data} phantoms=${phantoms} />` : html`<p class="quiet" role="status">Loading …</p>`)}
      </${Shown}>
    </${Panel}>
    ${fits && html`<${Panel} title="What was done" wide><${Done} marks=${shownMarks(held.data, phantoms)} /></${Panel}>`}
  </div>`;
}

const shownMarks = (data, phantoms) => data.marks.filter((mark) => phantoms || mark.kind !== "phantom");
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const seconds = (ms) => Math.floor(ms / 1000);
const row = (bar) => ({ time: seconds(bar.time), open: bar.open, high: bar.high, low: bar.low, close: bar.close });

function colours() {
  return {
    layout: { background: { color: style("--panel") }, textColor: style("--text"), attributionLogo: false, fontFamily: "inherit" },
    grid: { vertLines: { color: style("--line") }, horzLines: { color: style("--line") } },
  };
}

function Candles({ data, phantoms }) {
  const box = useRef(null);
  const held = useRef(null);
  useEffect(() => {
    let gone = false;
    let stops = [];
    import("../vendor/lightweight-charts.js").then((charts) => {
      if (gone) return;
      const chart = charts.createChart(box.current, {
        autoSize: true, ...colours(), timeScale: { timeVisible: true, secondsVisible: false },
        localization: { locale: "en" },
      });
      const series = chart.addSeries(charts.CandlestickSeries, {
        upColor: style("--good"), downColor: style("--bad"), wickUpColor: style("--good"), wickDownColor: style("--bad"),
        borderVisible: false, priceFormat: { type: "price", ...digits(data.bars[data.bars.length - 1].close) },
      });
      series.setData(data.bars.map(row));
      held.current = {
        chart, series, marks: charts.createSeriesMarkers(series, []), lines: [], last: data.bars[data.bars.length - 1],
        bars: new Map(data.bars.map((bar) => [bar.time, bar])), step: data.step_ms,
      };
      draw(held.current, data, phantoms);
      const theme = new MutationObserver(() => chart.applyOptions(colours()));
      theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
      stops = [
        listen("bars", (bars) => bars.filter((bar) => bar.symbol === data.symbol && bar.timeframe === data.timeframe).forEach((bar) => close(held.current, bar))),
        listen("pulse", (pulse) => pulse.prices[data.symbol] && forming(held.current, pulse.prices[data.symbol])),
        () => theme.disconnect(),
        () => chart.remove(),
      ];
      box.current.dataset.ready = "1";
    });
    return () => {
      gone = true;
      stops.forEach((stop) => stop());
      held.current = null;
    };
  }, []);
  useEffect(() => {
    if (held.current) draw(held.current, data, phantoms);
  }, [data, phantoms]);
  const last = data.bars[data.bars.length - 1];
  return html`<div class="chart" ref=${box} role="img" aria-label=${`Candles from ${moment(data.bars[0].time)} to ${moment(last.time)}, last close ${price(last.close)}. What was done is listed below.`}></div>`;
}

// five significant digits, of a price of any size
function digits(value) {
  const precision = Math.min(16, Math.max(1, 4 - Math.floor(Math.log10(value))));
  return { precision, minMove: 10 ** -precision };
}

function close(held, bar) {
  if (!held || bar.time < held.last.time) return;
  held.last = bar;
  held.bars.set(bar.time, bar);
  // a price can be ahead of the bar that it ended: the series takes nothing before its last bar one by one
  if (held.now && held.now.time > bar.time) held.series.setData([...held.bars.values(), held.now].map(row));
  else held.series.update(row(bar));
}

// the bar that is forming, from the last price: it begins where the last one ended
function forming(held, [value, time]) {
  if (!held) return;
  const start = Math.floor(time / held.step) * held.step;
  if (start <= held.last.time || (held.now && start < held.now.time)) return;
  const now = held.now && held.now.time === start ? held.now : { time: start, open: held.last.close, high: held.last.close, low: held.last.close };
  held.now = { ...now, high: Math.max(now.high, value), low: Math.min(now.low, value), close: value };
  held.series.update(row(held.now));
}

function draw(held, data, phantoms) {
  const near = (ms) => seconds(Math.floor(ms / data.step_ms) * data.step_ms);
  const shapes = [];
  for (const mark of shownMarks(data, phantoms)) {
    const refused = mark.kind === "phantom";
    shapes.push({
      time: near(mark.entry[0]), position: mark.long ? "belowBar" : "aboveBar", shape: mark.long ? "arrowUp" : "arrowDown",
      color: refused ? style("--quiet") : style("--accent"), size: refused ? 0.7 : 1.3, text: "",
    });
    if (mark.exit && !refused) {
      shapes.push({ time: near(mark.exit[0]), position: mark.long ? "aboveBar" : "belowBar", shape: mark.good ? "circle" : "square",
        color: mark.good ? style("--good") : style("--bad"), size: 1, text: mark.label });
    }
  }
  shapes.sort((a, b) => a.time - b.time);
  held.marks.setMarkers(shapes);
  held.lines.forEach((line) => held.series.removePriceLine(line));
  held.lines = data.marks.filter((mark) => mark.kind === "open").flatMap((mark) => [
    [mark.entry[1], "entry", style("--accent"), 0], [mark.stop, "stop", style("--bad"), 2], [mark.target, "target", style("--good"), 2],
  ]).filter(([level]) => level > 0).map(([level, title, color, lineStyle]) => held.series.createPriceLine({ price: level, title, color, lineStyle, lineWidth: 1 }));
}

const KINDS = { trade: "trade", open: "open", phantom: "refused" };

function Done({ marks }) {
  const columns = [
    { name: "What", full: true, of: (one) => (one.kind === "phantom" ? `refused by ${one.label}` : KINDS[one.kind]) },
    { name: "Side", of: (one) => (one.long ? "↗ long" : "↘ short") },
    { name: "Entry", of: (one) => moment(one.entry[0]) },
    { name: "Entry price", right: true, of: (one) => price(one.entry[1]) },
    { name: "Exit", of: (one) => (one.exit ? moment(one.exit[0]) : "open") },
    { name: "Exit price", right: true, of: (one) => (one.exit ? price(one.exit[1]) : "–") },
    { name: "Ended", of: (one) => (one.exit ? `${one.good ? "▲ in profit" : "▼ in loss"} ${one.kind === "trade" ? one.label : ""}` : one.label) },
  ];
  const rows = [...marks].sort((a, b) => b.entry[0] - a.entry[0]).slice(0, 100);
  return html`<${Table} columns=${columns} rows=${rows} label="What was done on this chart" empty="Nothing was done within these bars." />`;
}
