// Pieces that every view is made of.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import { get } from "./api.js";
import { listen, state } from "./live.js";
import { DASH, number, signed, whole } from "./format.js";

export { html, useEffect, useRef, useState };

// Returns what a path answers, anew when `again` changes, when one of `events` comes, and every `everyS` seconds. What
// was there stays while it is asked for again, so that nothing flickers.
export function useData(path, values, { events = [], everyS = 0 } = {}) {
  const [held, hold] = useState({ data: null, error: null, at: 0 });
  const key = JSON.stringify([path, values]);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (!path) return undefined;
    let gone = false;
    let timer = null;
    const ask = async () => {
      timer = null;
      try {
        const data = await get(path, values);
        if (!gone) hold({ data, error: null, at: Date.now() });
      } catch (error) {
        if (!gone) hold((before) => ({ ...before, error }));
      }
    };
    const soon = () => {
      if (timer === null) timer = setTimeout(ask, 700);
    };
    ask();
    const stops = events.map((event) => listen(event, soon));
    const clock = everyS ? setInterval(ask, everyS * 1000) : null;
    return () => {
      gone = true;
      stops.forEach((stop) => stop());
      clearTimeout(timer);
      clearInterval(clock);
    };
  }, [key, turn]);
  return { ...held, reload: () => setTurn((n) => n + 1) };
}

export function usePulse() {
  const [pulse, setPulse] = useState(state.pulse);
  useEffect(() => listen("pulse", setPulse), []);
  return pulse;
}

// Shows what was asked for, or that it is being asked for, or why it cannot be shown and what to do.
export function Shown({ of, children, empty, when = (data) => Array.isArray(data) && data.length === 0 }) {
  if (of.data === null) {
    return of.error ? html`<${Trouble} error=${of.error} retry=${of.reload} />` : html`<p class="quiet" role="status">Loading …</p>`;
  }
  const stale = of.error ? html`<${Trouble} error=${of.error} retry=${of.reload} />` : null;
  return html`${stale}${when(of.data) && empty ? html`<p class="quiet empty">${empty}</p>` : children(of.data)}`;
}

export function Trouble({ error, retry }) {
  return html`<div class="trouble" role="alert">
    <strong>This cannot be shown now.</strong> ${error.message}
    ${retry && html` <button type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

export function Panel({ title, children, aside, wide }) {
  const id = `panel-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return html`<section class=${wide ? "panel wide" : "panel"} aria-labelledby=${id}>
    <header><h2 id=${id}>${title}</h2>${aside}</header>
    ${children}
  </section>`;
}

export function Figure({ name, value, note, tone }) {
  return html`<div class="figure"><dt>${name}</dt><dd class=${tone || ""}>${value}${note && html`<small>${note}</small>`}</dd></div>`;
}

// An amount of which the sign counts: an arrow and a sign besides the colour.
export function Amount({ value, digits = 2, unit = "" }) {
  if (value === null || value === undefined || value === "") return html`<span>${DASH}</span>`;
  const up = Number(value) > 0;
  const down = Number(value) < 0;
  return html`<span class=${`amount ${up ? "good" : down ? "bad" : ""}`}><span aria-hidden="true">${up ? "▲ " : down ? "▼ " : ""}</span>${signed(value, digits)}${unit}</span>`;
}

export function Badge({ tone, children }) {
  const sign = { good: "✓", bad: "✕", warn: "!" }[tone] || "•";
  return html`<span class=${`badge ${tone || ""}`}><span aria-hidden="true">${sign}</span> ${children}</span>`;
}

// Whether a table has not the width that its columns need; asked anew when the width or the rows change.
function useCramped(box, rows) {
  const [cramped, setCramped] = useState(false);
  const needed = useRef(0);
  useLayoutEffect(() => {
    if (!box.current) return undefined;
    const look = () => {
      const table = box.current.firstElementChild;
      if (!table.classList.contains("cards")) needed.current = table.scrollWidth;
      setCramped(needed.current > box.current.clientWidth + 1);
    };
    look();
    const watch = new ResizeObserver(look);
    watch.observe(box.current);
    return () => watch.disconnect();
  }, [rows, box.current]);
  return cramped;
}

// columns: [{name, of: row => cell, right, sort, wrap, lead, full}]. Where they have not the width they need, rows are cards:
// ``lead`` cells come first there, ``full`` ones have a line of their own. Roles are spelled out, as cards would lose them.
export function Table({ columns, rows, label, sort, onSort, keyOf, empty }) {
  const box = useRef(null);
  const cramped = useCramped(box, rows);
  if (!rows.length) return html`<p class="quiet empty">${empty || "Nothing yet."}</p>`;
  const order = sort && onSort ? columns.filter((one) => one.sort).map((one) => [one.sort, one.name]) : [];
  return html`${cramped && order.length > 0 && html`<div class="row wrap"><${Select} label="Sort by" value=${sort.key} options=${order} onChange=${onSort} />
      <button type="button" onClick=${() => onSort(sort.key)}>${sort.down ? "↓ descending" : "↑ ascending"}</button></div>`}
    <div class="scroll" tabindex="0" role="region" aria-label=${label} ref=${box}>
    <table class=${cramped ? "sheet cards" : "sheet"} role="table">
      <caption class="unseen">${label}</caption>
      <thead role="rowgroup"><tr role="row">${columns.map((one) => html`<th scope="col" role="columnheader" class=${one.right ? "right" : ""}
        aria-sort=${sort && sort.key === one.sort ? (sort.down ? "descending" : "ascending") : undefined}>
        ${one.sort && onSort
          ? html`<button type="button" class="bare" onClick=${() => onSort(one.sort)}>${one.name}${sort && sort.key === one.sort ? (sort.down ? " ↓" : " ↑") : ""}</button>`
          : one.name}</th>`)}</tr></thead>
      <tbody role="rowgroup">${rows.map((row, i) => html`<tr role="row" key=${keyOf ? keyOf(row) : i}>
        ${columns.map((one) => html`<td role="cell" data-name=${one.name} class=${kind(one)}>${one.of(row)}</td>`)}</tr>`)}</tbody>
    </table></div>`;
}

const kind = (column) => ["right", "lead", "full", "wrap"].filter((one) => column[one]).join(" ");

// Horizontal bars around zero; every bar says its value.
export function Bars({ rows, label, digits = 2, unit = "", empty = "Nothing yet." }) {
  if (!rows.length) return html`<p class="quiet empty">${empty}</p>`;
  const most = Math.max(...rows.map((row) => Math.abs(row.value)), 1e-9);
  return html`<ul class="bars" aria-label=${label}>${rows.map((row) => html`<li key=${row.name}>
    <span class="name">${row.name}</span>
    <span class="track" aria-hidden="true"><span class=${row.value < 0 ? "bar minus" : "bar"}
      style=${{ width: `${(50 * Math.abs(row.value)) / most}%`, [row.value < 0 ? "right" : "left"]: "50%" }}></span></span>
    <span class="value">${signed(row.value, digits)}${unit}${row.note && html`<small>${row.note}</small>`}</span>
  </li>`)}</ul>`;
}

// Figures with their intervals around zero: a dot within a band, on one scale; every row says it in words as well.
// rows: [{name, value, low, high, verdict, tone, note}]
export function Intervals({ rows, label, unit = "", digits = 1, empty = "Nothing yet." }) {
  if (!rows.length) return html`<p class="quiet empty">${empty}</p>`;
  const most = Math.max(...rows.flatMap((row) => [row.value, row.low, row.high]).map((one) => Math.abs(Number(one) || 0)), 1e-9);
  const at = (value) => 50 + (50 * value) / most;
  return html`<ul class="intervals" aria-label=${label}>${rows.map((row) => html`<li key=${row.name}>
    <span class="name">${row.name}<${Badge} tone=${row.tone}>${row.verdict}</${Badge}></span>
    <span class="track" aria-hidden="true">${row.low !== null && html`<span class="band" style=${{ left: `${at(row.low)}%`, width: `${at(row.high) - at(row.low)}%` }}></span>`}
      <span class="dot" style=${{ left: `${at(row.value)}%` }}></span></span>
    <span class="value">${signed(row.value, digits)}${unit}${row.low !== null && html` <span class="quiet">(${signed(row.low, digits)} to ${signed(row.high, digits)})</span>`}<small>${row.note}</small></span>
  </li>`)}</ul>
  <p class="scale" aria-hidden="true"><span></span><span class="ends"><span>${signed(-most, digits)}${unit}</span><span>0</span><span>${signed(most, digits)}${unit}</span></span></p>`;
}

// How well probabilities came true: a dot per group on the diagonal of perfect ones.
export function Reliability({ groups }) {
  if (!groups.length) return html`<p class="quiet empty">No fold has been judged yet.</p>`;
  const at = (v) => 100 * v;
  const ticks = [0, 25, 50, 75, 100];
  return html`<figure class="square"><div class="ticked">
    ${ticks.map((one) => html`<span class="across" aria-hidden="true" style=${{ "--at": one / 100 }}>${one}</span><span class="up" aria-hidden="true" style=${{ "--at": one / 100 }}>${one}</span>`)}
    <svg viewBox="0 0 100 100" role="img" aria-label="Reliability: predicted against what came true">
      ${ticks.map((one) => html`<line x1=${one} x2=${one} y1="0" y2="100" class="grid-line" /><line x1="0" x2="100" y1=${one} y2=${one} class="grid-line" />`)}
      <line x1="0" y1="100" x2="100" y2="0" class="axis" /><rect x="0" y="0" width="100" height="100" class="frame" />
      ${groups.map((one) => html`<circle cx=${at(one.predicted)} cy=${100 - at(one.came_true)} r=${1.5 + Math.sqrt(one.n) / 6}><title>${whole(100 * one.predicted)} % predicted, ${whole(100 * one.came_true)} % came true, ${one.n} signals</title></circle>`)}
    </svg></div>
    <figcaption>→ predicted, ↑ came true, both in percent; on the line: as promised</figcaption>
  </figure>`;
}

export function Dialog({ title, children, close }) {
  const ref = useRef(null);
  useEffect(() => {
    ref.current.showModal();
    return undefined;
  }, []);
  return html`<dialog ref=${ref} onClose=${close} aria-labelledby="dialog-title">
    <h2 id="dialog-title">${title}</h2>${children}
  </dialog>`;
}

// A button that asks before it does something, and says how it went.
export function Act({ name, title, what, act, tone, disabled }) {
  const [asked, ask] = useState(false);
  const [said, say] = useState(null);
  const [busy, setBusy] = useState(false);
  const go = async () => {
    setBusy(true);
    try {
      say({ good: true, text: (await act()) || "Done." });
    } catch (error) {
      say({ good: false, text: error.message });
    }
    setBusy(false);
  };
  const close = () => {
    ask(false);
    say(null);
  };
  return html`<button type="button" class=${tone || ""} disabled=${disabled} onClick=${() => ask(true)}>${name}</button>
    ${asked && html`<${Dialog} title=${title || name} close=${close}>
      <p>${what}</p>
      ${said && html`<p role=${said.good ? "status" : "alert"} class=${said.good ? "good" : "bad"}>${said.text}</p>`}
      <div class="row end">
        <button type="button" onClick=${close}>${said && said.good ? "Close" : "Cancel"}</button>
        ${!(said && said.good) && html`<button type="button" class=${tone || "main"} disabled=${busy} onClick=${go}>${busy ? "…" : `Yes, ${name.toLowerCase()}`}</button>`}
      </div>
    </${Dialog}>`}`;
}

export function Select({ label, value, options, onChange }) {
  return html`<label class="field"><span>${label}</span>
    <select value=${value} onChange=${(e) => onChange(e.target.value)}>
      ${options.map((one) => (Array.isArray(one) ? html`<option value=${one[0]}>${one[1]}</option>` : html`<option value=${one}>${one}</option>`))}
    </select></label>`;
}
