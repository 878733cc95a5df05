// The parts, one by one: tiers, threads, feed, log, settings, who did what.

import { Badge, Figure, Panel, Shown, Table, html, useData, usePulse, useState } from "../parts.js";
import { DASH, lasted, moment, number, whole, words } from "../format.js";

export function View() {
  const pulse = usePulse();
  return html`<div class="grid">
    <${Loop} pulse=${pulse} />
    <${Feed} pulse=${pulse} />
    <${Tiers} pulse=${pulse} />
    <${Storage} />
    <${Workers} />
    <${Log} />
    <${Settings} />
    <${Deeds} />
  </div>`;
}

const waiting = html`<p class="quiet" role="status">Loading …</p>`;

function Loop({ pulse }) {
  const version = useData("/version", {}, { everyS: 60 });
  if (!pulse) return html`<${Panel} title="Process">${waiting}</${Panel}>`;
  return html`<${Panel} title="Process"><dl class="figures">
    <${Figure} name="Loop lag p99" value=${`${pulse.loop_lag_p99_ms} ms`} note=${`at most ${number(pulse.loop_lag_max_ms, 1)} ms`} />
    <${Figure} name="Bar to order p99" value=${`${pulse.bar_to_order_ms.p99} ms`} />
    <${Figure} name="Without a stop, p99" value=${`${number(pulse.naked_seconds.p99, 2)} s`} note=${`${pulse.naked_seconds.positions} positions`} />
    <${Figure} name="Private stream" value=${pulse.private_stream.connected ? "connected" : "down"} note=${pulse.private_stream.connected ? `for ${lasted(pulse.private_stream.seconds)}, ${pulse.private_stream.failures} losses` : pulse.private_stream.reason} />
    <${Figure} name="Unknown orders" value=${pulse.unknown_orders} />
    <${Figure} name="Started in" value=${`${number(pulse.recovery_s, 1)} s`} />
    ${version.data && html`<${Figure} name="Up" value=${version.data.up} note=${`${version.data.revenant} on Python ${version.data.python}`} />`}
  </dl></${Panel}>`;
}

function Feed({ pulse }) {
  if (!pulse) return html`<${Panel} title="Feed">${waiting}</${Panel}>`;
  const oldest = [...(pulse.feed_ages || [])].sort((a, b) => b[2] - a[2]).slice(0, 5);
  return html`<${Panel} title="Feed" aside=${pulse.connected ? html`<${Badge} tone="good">connected</${Badge}>` : html`<${Badge} tone="bad">not connected</${Badge}>`}>
    <dl class="pairs">${Object.entries({ ...pulse.feed, ...pulse.frames }).map(([name, value]) => html`<div><dt>${words(name)}</dt><dd>${whole(value)}</dd></div>`)}</dl>
    <h3>Longest silent</h3>
    <ul>${oldest.map(([symbol, timeframe, age]) => html`<li>${symbol} ${timeframe}: ${lasted(age)}</li>`)}</ul>
  </${Panel}>`;
}

function Tiers({ pulse }) {
  if (!pulse) return html`<${Panel} title="Tiers">${waiting}</${Panel}>`;
  const rows = [
    { name: "journal", state: pulse.ledger.state, waiting: pulse.ledger.memory_only, oldest_s: 0, written: pulse.ledger.records, reason: pulse.ledger.reason },
    ...Object.entries(pulse.tiers).map(([name, one]) => ({ name, ...one })),
  ];
  const columns = [
    { name: "Tier", of: (one) => one.name },
    { name: "State", of: (one) => html`<${Badge} tone=${one.state === "ok" ? "good" : "bad"}>${one.state}</${Badge}>` },
    { name: "Waits", right: true, of: (one) => whole(one.waiting) },
    { name: "Oldest", right: true, of: (one) => (one.waiting ? lasted(one.oldest_s) : DASH) },
    { name: "Written", right: true, of: (one) => whole(one.written) },
    { name: "Why", of: (one) => one.reason || DASH },
  ];
  const threads = Object.entries(pulse.threads).map(([name, took]) => ({ name, ...took }));
  const took = [
    { name: "Thread", of: (one) => one.name },
    { name: "Median", right: true, of: (one) => `${one.p50} ms` },
    { name: "p99", right: true, of: (one) => `${one.p99} ms` },
    { name: "At most", right: true, of: (one) => `${whole(one.max)} ms` },
  ];
  return html`<${Panel} title="Tiers" wide>
    <${Table} columns=${columns} rows=${rows} label="Tiers" keyOf=${(one) => one.name} />
    <h3>How long their threads take</h3>
    <${Table} columns=${took} rows=${threads} label="How long threads take" keyOf=${(one) => one.name} />
  </${Panel}>`;
}

function Storage() {
  const held = useData("/tiers", {}, { everyS: 30 });
  return html`<${Panel} title="Storage"><${Shown} of=${held} when=${() => false}>${(data) => html`
    <dl class="pairs">${[
      ["database", `${data.database_type}, ${data.database}`], ["size", `${data.db_size_mb} MB`], ["candles", `${whole(data.total_candles)} of ${data.symbols} symbols`],
      ["spilled", whole(data.waiting)], ["trades", `${whole(data.trades)}, ${data.unsettled} unsettled`], ["audit rows", whole(data.audit_rows)],
      ["journal", `${data.journal_mb} MB in ${data.journal_segments}`], ["redis", data.redis], ["disk", data.disk],
    ].map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`}</${Shown}></${Panel}>`;
}

function Workers() {
  const held = useData("/workers", {}, { everyS: 30 });
  const columns = [
    { name: "Worker", of: (one) => one.name },
    { name: "State", of: (one) => html`<${Badge} tone=${one.lost ? "bad" : "good"}>${one.lost ? "lost" : "alive"}</${Badge}>` },
    { name: "Processes", right: true, of: (one) => whole(one.processes) },
    { name: "Seen", right: true, of: (one) => `${lasted(one.seen_s)} ago` },
  ];
  return html`<${Panel} title="Workers" wide><${Shown} of=${held} when=${() => false}>${(data) => html`
    <dl class="pairs">${[
      ["beat", data.beat ? `${data.beat.name}, seen ${lasted(data.beat.seen_s)} ago` : "none"],
      ["clock of the beat", data.beat ? `${number(data.beat.drift_s, 1)} s ahead` : DASH],
      ["tasks waiting", whole(data.tasks)], ["parts being done", whole(data.running)],
      ["parts waiting", data.waiting ? `${whole(data.waiting)}, for up to ${lasted(data.oldest_s)}` : "0"],
    ].map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    ${data.reason && html`<p class="quiet">${data.reason}</p>`}
    ${data.workers.length > 0 && html`<${Table} columns=${columns} rows=${data.workers} label="Workers" keyOf=${(one) => one.name} />`}`}</${Shown}></${Panel}>`;
}

function Log() {
  const [asked, ask] = useState("");
  const held = useData("/logs", { lines: 300 }, { everyS: 3 });
  return html`<${Panel} title="Log" wide aside=${html`<label class="field inline"><span>Only lines with</span><input value=${asked} onInput=${(e) => ask(e.target.value)} /></label>`}>
    <${Shown} of=${held} empty="Nothing is in the log yet.">${(lines) => html`<pre class="log" tabindex="0" aria-label="Newest lines of the log">${lines.filter((line) => line.toLowerCase().includes(asked.toLowerCase())).reverse().join("\n")}</pre>`}</${Shown}>
  </${Panel}>`;
}

const flat = (tree, path = "") => Object.entries(tree).flatMap(([name, value]) =>
  value && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length ? flat(value, `${path}${name}.`) : [[`${path}${name}`, value]]);

function Settings() {
  const [asked, ask] = useState("");
  const held = useData("/config", {}, { everyS: 60 });
  return html`<${Panel} title="Settings" wide aside=${html`<label class="field inline"><span>Only keys with</span><input value=${asked} onInput=${(e) => ask(e.target.value)} /></label>`}>
    <${Shown} of=${held} when=${() => false}>${(data) => html`<dl class="pairs scroll" tabindex="0" aria-label="Settings in force, secrets masked">
      ${flat(data).filter(([name]) => name.includes(asked)).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value === "" || value === null || (Array.isArray(value) && !value.length) ? DASH : typeof value === "object" ? JSON.stringify(value) : String(value)}</dd></div>`)}</dl>`}</${Shown}>
  </${Panel}>`;
}

function Deeds() {
  const held = useData("/audit", { count: 50 }, { everyS: 15 });
  const columns = [
    { name: "Time", of: (one) => moment(one.time) },
    { name: "By", of: (one) => `${one.told} ${one.by || one.user || ""}` },
    { name: "What", of: (one) => one.what || one.command || DASH },
    { name: "Details", full: true, of: (one) => Object.entries(one).filter(([name, value]) => !["time", "by", "what", "told", "command", "user"].includes(name) && value !== "").map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(" ") : value}`).join(", ") },
  ];
  return html`<${Panel} title="Who did what" wide><${Shown} of=${held} empty="Nobody has had anything done.">${(rows) => html`<${Table} columns=${columns} rows=${rows} label="Who did what" />`}</${Shown}></${Panel}>`;
}
