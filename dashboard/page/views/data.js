// What is stored, what lacks, how sources agree, what is done about it.

import { Act, Badge, Dialog, Panel, Select, Shown, Table, Trouble, html, useData, useState } from "../parts.js";
import { post, remove } from "../api.js";
import { TONES, useWorks } from "../works.js";
import { DASH, coin, moment, percent, whole, words } from "../format.js";

export function View({ session }) {
  return html`<div class="stack">
    <${Coverage} session=${session} />
    <div class="grid"><${Jobs} session=${session} /><${Works} session=${session} /></div>
  </div>`;
}

const length = (name) => ({ m: 1, h: 60, d: 1440, w: 10080, M: 43200 })[name.slice(-1)] * Number(name.slice(0, -1));

const STOPPED_MS = 48 * 3600 * 1000;
const ENOUGH = 99;
const WORST = 50;
const ILL = ["FAILED", "LOST", "PARTIAL"];

// what somebody should see to, the worst first: what lacks, what is told of no more, jobs that fail
function Problems({ rows, jobs, open }) {
  const newest = new Map();
  for (const one of rows) newest.set(one.source, Math.max(newest.get(one.source) || 0, one.end));
  const behind = (one) => newest.get(one.source) - one.end;
  const ill = rows.filter((one) => one.completeness < ENOUGH || behind(one) > STOPPED_MS)
    .map((one) => ({ ...one, key: `${one.source} ${one.symbol} ${one.timeframe}`, what: [one.completeness < ENOUGH && `${percent(one.completeness, 2)} there, ${whole(one.missing)} bars missing`, behind(one) > STOPPED_MS && `nothing since ${moment(one.end)}`].filter(Boolean).join("; ") }))
    .sort((a, b) => a.completeness - b.completeness);
  const failing = (jobs || []).filter((one) => ILL.includes(one.status)).map((one) => ({ key: one.job, job: one, what: `${one.status.toLowerCase()}: ${one.said}` }));
  const columns = [
    { name: "Of", lead: true, of: (one) => (one.job ? `job ${words(one.job.job)}` : `${coin(one.symbol)} ${one.timeframe}, ${one.source}`) },
    { name: "What is wrong", full: true, wrap: true, of: (one) => one.what },
    { name: "More", of: (one) => (one.job ? DASH : html`<button type="button" aria-label=${`Gaps of ${coin(one.symbol)} ${one.timeframe} from ${one.source}`} onClick=${() => open(one)}>Gaps</button>`) },
  ];
  const all = [...failing, ...ill];
  const said = all.length ? `${whole(ill.length)} of ${whole(rows.length)} series and ${failing.length} jobs want attention.` : `None of ${whole(rows.length)} series is below ${ENOUGH} % or has stopped, and no job failed.`;
  return html`<${Panel} title="Problems" wide aside=${all.length ? html`<${Badge} tone="warn">${all.length}</${Badge}>` : html`<${Badge} tone="good">none</${Badge}>`}>
    <p class="verdict">${said}</p>
    ${all.length > 0 && html`<${Table} columns=${columns} rows=${all.slice(0, WORST)} label="Problems of stored data" keyOf=${(one) => one.key} />`}
    ${all.length > WORST && html`<p class="quiet">${whole(all.length - WORST)} more: <code>python manage.py data quality</code></p>`}
  </${Panel}>`;
}

function Coverage({ session }) {
  const held = useData("/coverage", {}, { everyS: 30, events: ["work"] });
  const jobs = useData("/jobs", {}, { everyS: 30, events: ["work"] });
  const [source, setSource] = useState("");
  const [opened, open] = useState(null);
  return html`<${Shown} of=${held} empty=${html`Nothing is stored yet. Bars of the live feed come by themselves; for history: <code>python manage.py data download -p BTC/USDT:USDT</code>`}>${(rows) => {
    const sources = [...new Set(rows.map((one) => one.source))];
    const chosen = sources.includes(source) ? source : sources[0];
    const mine = rows.filter((one) => one.source === chosen);
    const frames = [...new Set(mine.map((one) => one.timeframe))].sort((a, b) => length(a) - length(b));
    const symbols = [...new Set(mine.map((one) => one.symbol))].sort();
    const at = new Map(mine.map((one) => [`${one.symbol} ${one.timeframe}`, one]));
    return html`<div class="stack"><${Problems} rows=${rows} jobs=${jobs.data} open=${open} />
    <${Panel} title="Coverage" wide aside=${html`<${Select} label="Source" value=${chosen} options=${sources} onChange=${setSource} />`}>
      <p class="quiet">Share of bars that are there between a series' first and last. Press a cell for its gaps and other sources.</p>
      <div class="scroll" tabindex="0" role="region" aria-label="Coverage by symbol and timeframe">
        <table class="sheet heat"><caption class="unseen">Coverage by symbol and timeframe</caption>
          <thead><tr><th scope="col">Symbol</th>${frames.map((one) => html`<th scope="col">${one}</th>`)}</tr></thead>
          <tbody>${symbols.map((name) => html`<tr key=${name}><th scope="row">${coin(name)}</th>${frames.map((frame) => html`<${Cell} one=${at.get(`${name} ${frame}`)} open=${open} />`)}</tr>`)}</tbody>
        </table></div>
      ${opened && html`<${Series} one=${opened} session=${session} close=${() => open(null)} />`}
    </${Panel}></div>`;
  }}</${Shown}>`;
}

function Cell({ one, open }) {
  if (!one) return html`<td class="none">${DASH}</td>`;
  const level = one.completeness >= 100 ? "whole" : one.completeness >= 99 ? "near" : one.completeness >= 90 ? "part" : "poor";
  const said = one.missing ? `${percent(one.completeness, 2)}` : "100 %";
  return html`<td class=${level}><button type="button" class="bare" aria-label=${`${coin(one.symbol)} ${one.timeframe}: ${said}, ${one.missing} missing`} onClick=${() => open(one)}>${said}<small>${one.missing ? `${whole(one.missing)} missing` : `${whole(one.bars)} bars`}</small></button></td>`;
}

function Series({ one, session, close }) {
  const gaps = useData("/coverage/gaps", { source: one.source, symbol: one.symbol, timeframe: one.timeframe });
  const others = useData("/coverage/compare", { symbol: one.symbol, timeframe: one.timeframe });
  const columns = [
    { name: "Source", of: (row) => row.source },
    { name: "Bars", right: true, of: (row) => whole(row.bars) },
    { name: "From", of: (row) => moment(row.start) },
    { name: "To", of: (row) => moment(row.end) },
    { name: "Equal closes", right: true, of: (row) => (row.common ? `${whole(row.equal)} of ${whole(row.common)}` : DASH) },
    { name: "Median difference", right: true, of: (row) => (row.median === null ? DASH : percent(100 * row.median, 4)) },
    { name: "Largest", right: true, of: (row) => (row.largest === null ? DASH : `${percent(100 * row.largest, 3)} at ${moment(row.largest_at)}`) },
  ];
  return html`<${Dialog} title=${`${coin(one.symbol)} ${one.timeframe} from ${one.source}`} close=${close}>
    <p>${whole(one.bars)} bars from ${moment(one.start)} to ${moment(one.end)}.</p>
    <h3>Gaps</h3>
    ${gaps.error && html`<${Trouble} error=${gaps.error} />`}
    ${gaps.data && (gaps.data.gaps.length
      ? html`<ul>${gaps.data.gaps.map((gap) => html`<li>${moment(gap.start)}: ${gap.bars} ${gap.bars === 1 ? "bar" : "bars"}</li>`)}</ul>`
      : html`<p><${Badge} tone="good">nothing is missing</${Badge}>${gaps.data.absent ? ` ${whole(gaps.data.absent)} bars never were.` : ""}</p>`)}
    <h3>Sources side by side</h3>
    ${others.error && html`<${Trouble} error=${others.error} />`}
    ${others.data && html`<${Table} columns=${columns} rows=${others.data} label="Sources side by side" />`}
    <div class="row end">
      ${session.signed_in && html`<${Act} name="Fill gaps" what="What is missing is asked for; what the source never had is kept as absent."
        act=${() => post("/works", { kind: "fill-gaps", symbols: [one.symbol], timeframes: [one.timeframe], source: one.source, days: 3650 }).then(() => "It has begun; see Works.")} />`}
      <button type="button" onClick=${close}>Close</button>
    </div>
  </${Dialog}>`;
}

function Jobs({ session }) {
  const held = useData("/jobs", {}, { everyS: 30, events: ["work"] });
  const columns = [
    { name: "Job", full: true, of: (one) => html`<strong>${words(one.job)}</strong><br /><small>${one.does}</small>` },
    { name: "Last run", of: (one) => html`${one.last_run || "never"} ${one.status && html`<${Badge} tone=${{ COMPLETED: "good", FAILED: "bad", LOST: "bad", PARTIAL: "warn" }[one.status]}>${one.status.toLowerCase()}</${Badge}>`} ${["FAILED", "LOST", "PARTIAL"].includes(one.status) && html`<br /><small>${one.said}</small>`}` },
    { name: "Next", of: (one) => one.next_run },
  ];
  if (session.signed_in) {
    columns.push({ name: "Action", of: (one) => one.next_run && html`<${Act} name="Run" title=${`Run ${words(one.job)}`} what=${one.does} act=${() => post("/works", { kind: "job", name: one.job }).then(() => "It has begun; see Works.")} />` });
  }
  return html`<${Panel} title="Regular jobs" wide><${Shown} of=${held} empty="There is no job.">${(rows) => html`<${Table} columns=${columns} rows=${rows} label="Regular jobs" keyOf=${(one) => one.job} />`}</${Shown}></${Panel}>`;
}

function Works({ session }) {
  const { held, rows } = useWorks();
  return html`<${Panel} title="Works" wide>
    ${session.signed_in ? html`<${NewWork} begun=${held.reload} />` : html`<p class="quiet">Who has signed in can download, fill gaps and export here.</p>`}
    ${held.error && html`<${Trouble} error=${held.error} retry=${held.reload} />`}
    ${rows && (rows.length ? html`<ul class="works">${rows.map((one) => html`<li key=${one.number}>
      <div class="row wrap"><${Badge} tone=${TONES[one.state]}>${one.state}</${Badge}><code>${one.command}</code><span class="space"></span>
        ${one.state === "running" && session.signed_in && html`<button type="button" onClick=${() => remove(`/works/${one.number}`).then(held.reload)}>End</button>`}</div>
      <pre role="group" tabindex="0" aria-label=${`What work ${one.number} says`}>${one.said.split("\n").slice(-8).join("\n")}</pre></li>`)}</ul>` : html`<p class="quiet empty">Nothing has been begun here.</p>`)}
  </${Panel}>`;
}

function NewWork({ begun }) {
  const [kind, setKind] = useState("download");
  const [said, say] = useState(null);
  const list = (text) => text.split(/[\s,]+/).filter(Boolean);
  const send = async (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    try {
      await post("/works", { kind, symbols: list(given.get("symbols")), timeframes: list(given.get("timeframes")), days: Number(given.get("days")), source: given.get("source").trim() });
      say(null);
      begun();
    } catch (error) {
      say(error);
    }
  };
  return html`<form class="row wrap" onSubmit=${send} aria-label="Begin a work">
    <${Select} label="What" value=${kind} options=${[["download", "Download"], ["fill-gaps", "Fill gaps"], ["export", "Export for freqtrade"]]} onChange=${setKind} />
    <label class="field"><span>Symbols</span><input name="symbols" placeholder="BTC/USDT:USDT" required=${kind === "download"} /></label>
    <label class="field"><span>Timeframes</span><input name="timeframes" placeholder="15m 1h" /></label>
    <label class="field"><span>Days</span><input name="days" type="number" min="1" max="3650" value="30" required /></label>
    <label class="field"><span>Source</span><input name="source" placeholder="as configured" /></label>
    <button class="main">Begin</button>
    ${said && html`<p role="alert" class="bad">${said.message}</p>`}
  </form>`;
}
