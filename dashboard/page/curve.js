// A running profit with its axes and what it fell from its best; a pointer, or a slider, says what it was at any moment.

import { html, useRef, useState } from "./vendor/preact.js";
import { moment, number, signed } from "./format.js";

const TICKS = 4;

// round levels between two values: steps of 1, 2 or 5 times a power of ten
export function levels(low, high) {
  const rough = (high - low) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push(at);
  return found;
}

// how far each value is below the best before it, which begins at zero
export function falls(values) {
  let best = 0;
  return values.map((one) => {
    best = Math.max(best, one);
    return best - one;
  });
}

function Grid({ low, high, y, digits }) {
  return levels(low, high).map((one) => html`<span class="level" style=${{ top: `${y(one)}%` }}>${number(one, digits)}</span>`);
}

// points: [[ms, value]], at least two
export function Curve({ points, label }) {
  const [at, move] = useState(points.length - 1);
  const box = useRef(null);
  const chosen = Math.min(at, points.length - 1);
  const xs = points.map((one) => one[0]);
  const ys = points.map((one) => one[1]);
  const fell = falls(ys);
  const [low, high, deepest] = [Math.min(0, ...ys), Math.max(0, ...ys), Math.max(...fell)];
  const span = high - low || 1;
  const width = xs[xs.length - 1] - xs[0] || 1;
  const x = (ms) => (100 * (ms - xs[0])) / width;
  const y = (value) => 100 - (100 * (value - low)) / span;
  const below = (value) => (deepest ? (100 * value) / deepest : 0);
  const line = (of, values) => values.map((value, i) => `${i ? "L" : "M"}${x(xs[i]).toFixed(3)} ${of(value).toFixed(3)}`).join("");
  const follow = (event) => {
    const place = box.current.getBoundingClientRect();
    const ms = xs[0] + (width * (event.clientX - place.left)) / place.width;
    move(xs.reduce((best, one, i) => (Math.abs(one - ms) < Math.abs(xs[best] - ms) ? i : best), 0));
  };
  const words = `${label}: from ${number(ys[0])} to ${number(ys[ys.length - 1])}, lowest ${number(Math.min(...ys))}, highest ${number(Math.max(...ys))}, deepest fall ${number(deepest)}`;
  const digits = span < 10 ? 2 : 0;
  return html`<figure class="curve">
    <p class="legend">${moment(xs[chosen])}<span>net ${signed(ys[chosen])}</span><span>drawdown ${number(fell[chosen])}</span></p>
    <div class="plot" role="img" aria-label=${words}>
      <div class="upper"><svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
        ${levels(low, high).map((one) => html`<line x1="0" x2="100" y1=${y(one)} y2=${y(one)} class=${one === 0 ? "zero" : "grid-line"} vector-effect="non-scaling-stroke" />`)}
        <path d=${line(y, ys)} vector-effect="non-scaling-stroke" /></svg><${Grid} low=${low} high=${high || 1} y=${y} digits=${digits} /></div>
      <div class="lower"><svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
        <path class="fall" d=${`${line(below, fell)}L100 0L0 0Z`} vector-effect="non-scaling-stroke" /></svg>
        ${deepest > 0 && html`<span class="level" style=${{ top: "100%" }}>${number(deepest, digits)}</span>`}</div>
      <div ref=${box} class="hands" onPointerMove=${follow} onPointerDown=${follow}><span class="hand" style=${{ left: `${x(xs[chosen])}%` }}></span></div>
    </div>
    <div class="times" aria-hidden="true">${[0, 1, 2, 3].map((part) => html`<span>${moment(xs[0] + (width * part) / 3)}</span>`)}</div>
    <input type="range" min="0" max=${points.length - 1} value=${chosen} aria-label=${`Moment of ${label.toLowerCase()}`} aria-valuetext=${`${moment(xs[chosen])}: ${signed(ys[chosen])}`} onInput=${(event) => move(Number(event.target.value))} />
  </figure>`;
}
