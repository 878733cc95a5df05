// The chart itself: candles and volume, what was done on them, strategies' columns; further back as one scrolls there.

import { get } from "./api.js";
import { listen } from "./live.js";
import { DASH, number, price, signed } from "./format.js";

const PAGE = 1000;
const PAGES_MAX = 20;
const NEAR = 30;
const HUES = ["#c77700", "#7b4dd6", "#00899b", "#b8327a", "#5b7f00", "#8a6d3b"];

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const seconds = (ms) => Math.floor(ms / 1000);
const candle = (bar) => ({ time: seconds(bar.time), open: bar.open, high: bar.high, low: bar.low, close: bar.close });

function colours() {
  return {
    layout: { background: { color: style("--panel") }, textColor: style("--text"), attributionLogo: false, fontFamily: "inherit" },
    grid: { vertLines: { color: style("--line") }, horzLines: { color: style("--line") } },
  };
}

// five significant digits, of a price of any size
function digits(value) {
  const precision = Math.min(16, Math.max(1, 4 - Math.floor(Math.log10(value))));
  return { precision, minMove: 10 ** -precision };
}

// Lines from entries to exits, drawn under the candles' markers; levels of an open position stay within the picture.
class Ways {
  constructor() {
    this.marks = [];
    this.levels = [];
  }

  attached({ chart, series, requestUpdate }) {
    Object.assign(this, { chart, series, requestUpdate });
  }

  show(marks, levels, at, newest) {
    Object.assign(this, { marks, levels, at, newest });
    if (this.requestUpdate) this.requestUpdate();
  }

  // only beside the newest bars: further back the levels would press the candles flat
  autoscaleInfo(_, to) {
    if (!this.levels.length || to < this.newest()) return null;
    return { priceRange: { minValue: Math.min(...this.levels), maxValue: Math.max(...this.levels) } };
  }

  paneViews() {
    return [{ zOrder: () => "bottom", renderer: () => ({ draw: (target) => target.useMediaCoordinateSpace(({ context }) => this.drawn(context)) }) }];
  }

  drawn(context) {
    context.lineWidth = 2;
    context.setLineDash([5, 3]);
    for (const mark of this.marks) {
      const ends = [mark.entry, mark.exit].map(([time, level]) => [this.chart.timeScale().timeToCoordinate(this.at(time)), this.series.priceToCoordinate(level)]);
      if (ends.flat().some((one) => one === null)) continue;
      context.strokeStyle = mark.good ? style("--good") : style("--bad");
      context.beginPath();
      ends.forEach(([x, y]) => context.lineTo(x, y));
      context.stroke();
    }
  }
}

export class Picture {
  // ``data.past`` is the path that older bars come from, of a chart of what is over; a live one has none
  // ``said`` is told what the crosshair is on, as pairs of a name and a value; ``seen`` from when to when is shown (s)
  constructor(charts, box, data, said, seen) {
    Object.assign(this, { charts, data, said, bars: data.bars, older: [], now: null, whole: false, lines: [], drawn: [], asking: null, strategy: "" });
    this.chart = charts.createChart(box, {
      autoSize: true, ...colours(), timeScale: { timeVisible: true, secondsVisible: false }, localization: { locale: "en" },
      // a finger that goes up or down over the chart scrolls the page
      handleScroll: { vertTouchDrag: false },
    });
    this.volume = this.chart.addSeries(charts.HistogramSeries, { priceScaleId: "", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.85, bottom: 0 } });
    this.series = this.chart.addSeries(charts.CandlestickSeries, { borderVisible: false, priceFormat: { type: "price", ...digits(data.bars[data.bars.length - 1].close) } });
    this.ways = new Ways();
    this.series.attachPrimitive(this.ways);
    this.marks = charts.createSeriesMarkers(this.series, []);
    this.paint();
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => range && range.from < NEAR && this.back());
    this.chart.timeScale().subscribeVisibleTimeRangeChange((range) => range && seen([range.from, range.to]));
    this.chart.subscribeCrosshairMove((at) => this.tell(at.time));
    const theme = new MutationObserver(() => this.paint());
    theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    this.stops = [() => theme.disconnect(), () => this.chart.remove()];
    // what is over stands still
    if (!data.past) this.stops.push(
      listen("bars", (bars) => bars.filter((bar) => bar.symbol === data.symbol && bar.timeframe === data.timeframe).forEach((bar) => this.close(bar))),
      listen("pulse", (pulse) => pulse.prices[data.symbol] && this.forming(pulse.prices[data.symbol])),
    );
  }

  end() {
    this.ended = true;
    this.stops.forEach((stop) => stop());
  }

  get all() {
    return [...this.older, ...this.bars];
  }

  // the open time of the bar that a moment is in
  at(ms) {
    return seconds(Math.floor(ms / this.data.step_ms) * this.data.step_ms);
  }

  paint() {
    this.chart.applyOptions(colours());
    const [up, down] = [style("--good"), style("--bad")];
    this.series.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    this.fill();
    if (this.shown) this.show(this.shown.data, this.shown.phantoms);
  }

  bulk(bar) {
    return { time: seconds(bar.time), value: bar.volume, color: `${style(bar.close < bar.open ? "--bad" : "--good")}55` };
  }

  fill() {
    const held = this.all;
    // the bar that was forming may have closed since
    const ahead = this.now && this.now.time > held[held.length - 1].time;
    this.series.setData((ahead ? [...held, this.now] : held).map(candle));
    this.volume.setData(held.map((bar) => this.bulk(bar)));
    this.tell();
  }

  close(bar) {
    const last = this.bars[this.bars.length - 1];
    if (bar.time < last.time) return;
    if (bar.time === last.time) this.bars.pop();
    this.bars.push(bar);
    // a price can be ahead of the bar that it ended: the series takes nothing before its last bar one by one
    if (this.now && this.now.time > bar.time) {
      this.fill();
    } else {
      this.series.update(candle(bar));
      this.volume.update(this.bulk(bar));
    }
    this.tell();
  }

  // the bar that is forming, from the last price: it begins where the last one ended
  forming([value, time]) {
    const last = this.bars[this.bars.length - 1];
    const start = Math.floor(time / this.data.step_ms) * this.data.step_ms;
    if (start <= last.time || (this.now && start < this.now.time)) return;
    const now = this.now && this.now.time === start ? this.now : { time: start, open: last.close, high: last.close, low: last.close };
    this.now = { ...now, high: Math.max(now.high, value), low: Math.min(now.low, value), close: value };
    this.series.update(candle(this.now));
  }

  // the page of bars before the oldest one; what it holds of trades is told to whoever lists them
  back() {
    if (this.whole || this.asking || this.older.length >= PAGE * PAGES_MAX) return this.asking || Promise.resolve();
    const { symbol, timeframe, past } = this.data;
    this.asking = get(past || "/chart/older", { symbol, timeframe, before: this.all[0].time, count: PAGE }).then((found) => {
      this.whole = found.bars.length < PAGE;
      this.asking = null;
      if (this.ended || !found.bars.length) return;
      this.older = [...found.bars, ...this.older];
      this.fill();
      if (this.found) this.found(found.marks);
      this.columns(this.strategy);
    }, () => {
      this.asking = null;
      this.whole = true;
    });
    return this.asking;
  }

  // moves to a moment, over as many pages of history as lie between
  async go(ms) {
    while (!this.whole && !this.ended && this.all[0].time > ms - 50 * this.data.step_ms && this.older.length < PAGE * PAGES_MAX) await this.back();
    if (this.ended) return;
    const at = this.all.findIndex((bar) => bar.time + this.data.step_ms > ms);
    const middle = at < 0 ? this.all.length : at;
    this.chart.timeScale().setVisibleLogicalRange({ from: middle - 40, to: middle + 40 });
  }

  // so many bars to the left or right; the newest for Infinity
  move(bars) {
    const scale = this.chart.timeScale();
    if (bars === Infinity) {
      scale.scrollToRealTime();
      return;
    }
    const range = scale.getVisibleLogicalRange();
    if (range) scale.setVisibleLogicalRange({ from: range.from + bars, to: range.to + bars });
  }

  // shows so many times more or fewer bars, around the middle
  zoom(times) {
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    if (!range) return;
    const [middle, half] = [(range.from + range.to) / 2, Math.max(5, (times * (range.to - range.from)) / 2)];
    scale.setVisibleLogicalRange({ from: middle - half, to: middle + half });
  }

  show(data, phantoms) {
    this.shown = { data, phantoms };
    const shapes = [];
    for (const mark of data.marks.filter((one) => phantoms || one.kind !== "phantom")) {
      const refused = mark.kind === "phantom";
      shapes.push({
        time: this.at(mark.entry[0]), position: mark.long ? "belowBar" : "aboveBar", shape: mark.long ? "arrowUp" : "arrowDown",
        color: refused ? style("--quiet") : style("--accent"), size: refused ? 0.7 : 1.3, text: "",
      });
      if (mark.exit && !refused) {
        shapes.push({ time: this.at(mark.exit[0]), position: mark.long ? "aboveBar" : "belowBar", shape: mark.good ? "circle" : "square",
          color: mark.good ? style("--good") : style("--bad"), size: 1, text: mark.label });
      }
    }
    this.marks.setMarkers(shapes.sort((a, b) => a.time - b.time));
    this.lines.forEach((line) => this.series.removePriceLine(line));
    const levels = data.marks.filter((mark) => mark.kind === "open").flatMap((mark) => [
      [mark.entry[1], `entry ${mark.label}`, style("--accent"), 0], [mark.stop, "stop", style("--bad"), 2], [mark.target, "target", style("--good"), 2],
    ]).filter(([level]) => level > 0);
    this.lines = levels.map(([level, title, color, lineStyle]) => this.series.createPriceLine({ price: level, title, color, lineStyle, lineWidth: 1 }));
    this.ways.show(data.marks.filter((mark) => mark.kind === "trade" && mark.exit), levels.map(([level]) => level), (ms) => this.at(ms), () => this.older.length + this.bars.length - NEAR);
  }

  // the columns of a strategy, those near the price over the candles, the others in a pane below
  async columns(strategy) {
    this.strategy = strategy;
    const { symbol, timeframe } = this.data;
    const held = this.all;
    const pages = [];
    for (let end = held.length; strategy && end > 0 && pages.length < PAGES_MAX; end -= PAGE) {
      pages.unshift(get("/chart/columns", { symbol, timeframe, before: held[end - 1].time + 1, count: Math.min(PAGE, end) }));
    }
    const found = (await Promise.all(pages)).map((rows) => rows.find((one) => one.strategy === strategy)).filter(Boolean);
    if (this.ended || this.strategy !== strategy) return;
    this.drawn.forEach((one) => this.chart.removeSeries(one.series));
    this.drawn = found.length ? Object.keys(found[0].columns).map((name, i) => this.line(name, found, i)) : [];
    this.tell();
  }

  line(name, pages, i) {
    const points = pages.flatMap((page) => page.times.map((time, row) => [time, page.columns[name][row]]));
    const closes = new Map(this.all.map((bar) => [bar.time, bar.close]));
    const near = points.filter(([time, value]) => value !== null && closes.has(time)).map(([time, value]) => value / closes.get(time));
    // one that stays within a fifth of the price belongs to it
    const ofPrice = near.length > 0 && near.filter((one) => one > 0.8 && one < 1.25).length > 0.9 * near.length;
    const series = this.chart.addSeries(this.charts.LineSeries, {
      color: HUES[i % HUES.length], lineWidth: 1, title: name, lastValueVisible: false, priceLineVisible: false, crosshairMarkerVisible: false,
      ...(ofPrice ? {} : { priceScaleId: `of ${name}` }),
    }, ofPrice ? 0 : 1);
    series.setData(points.map(([time, value]) => (value === null ? { time: seconds(time) } : { time: seconds(time), value })));
    return { name, series, values: new Map(points.map(([time, value]) => [seconds(time), value])) };
  }

  tell(time) {
    const held = this.all;
    const at = time === undefined ? held.length - 1 : held.findIndex((bar) => seconds(bar.time) === time);
    const bar = at < 0 ? this.now : held[at];
    if (!bar) return;
    const before = held[at < 0 ? held.length - 1 : at - 1];
    const change = before ? 100 * (bar.close / before.close - 1) : null;
    this.said([
      ["", new Date(bar.time).toISOString().slice(0, 16).replace("T", " ")], ["O", price(bar.open)], ["H", price(bar.high)], ["L", price(bar.low)], ["C", price(bar.close)],
      ["", change === null ? DASH : `${signed(change)} %`], ["Vol", bar.volume === undefined ? DASH : number(bar.volume, 0)],
      ...this.drawn.map((one) => [one.name, price(one.values.get(seconds(bar.time)))]),
    ]);
  }
}
