// The parts with their state and age, the log, workers, who did what; counters and settings folded away.

import { Badge, Figure, Panel, Select, Shown, Table, html, useData, usePulse, useState } from "../parts.js";
import { DASH, coin, lasted, moment, number, whole, words } from "../format.js";

export function View() {
  const pulse = usePulse();
  return html`<div class="grid">
    <${Components} pulse=${pulse} />
    <${Log} />
    <${Workers} />
    <${Deeds} />
    <${Folded} title="Counters" pulse=${pulse}><div class="grid"><${Loop} pulse=${pulse} /><${Storage} /><${Counters} pulse=${pulse} /><${Threads} pulse=${pulse} /></div></${Folded}>
    <${Settings} />
  </div>`;
}

const waiting = html`<p class="quiet" role="status">Loading …</p>`;

function Folded({ title, children }) {
  return html`<details class="wide"><summary>${title}</summary>${children}</details>`;
}

// every part with its state, how old the last that is known of it is, and why where it is not well
function Components({ pulse }) {
  if (!pulse) return html`<${Panel} title="Components" wide>${waiting}</${Panel}>`;
  const ages = [...(pulse.feed_ages || [])].sort((a, b) => b[2] - a[2]);
  const oldest = ages[0];
  const stream = pulse.private_stream;
  const waits = (one) => (one.waiting ? `${whole(one.waiting)} wait, the oldest ${lasted(one.oldest_s)}` : "nothing waits");
  const notices = Number((pulse.telegram || {}).notices_waiting) || 0;
  const rows = [
    ["trading", pulse.ready, pulse.ready ? pulse.switch : "no entries", pulse.reasons.join("; ") || (pulse.notes || []).join("; "), ""],
    ["market feed", pulse.connected && !pulse.stale.length, pulse.connected ? (pulse.stale.length ? `${pulse.stale.length} silent` : "connected") : "not connected", pulse.stale.slice(0, 5).map((one) => (Array.isArray(one) ? one.join(" ") : String(one))).join(", "), oldest ? `${lasted(oldest[2])} (${coin(oldest[0])} ${oldest[1]})` : DASH],
    ["private stream", stream.connected, stream.connected ? "connected" : "down", stream.reason || (stream.failures ? `${stream.failures} losses` : ""), stream.connected ? `for ${lasted(stream.seconds)}` : DASH],
    ["journal", pulse.ledger.state === "ok", pulse.ledger.state, pulse.ledger.reason, pulse.ledger.memory_only ? `${whole(pulse.ledger.memory_only)} in memory only` : "nothing waits"],
    ...Object.entries(pulse.tiers).map(([name, one]) => [name, one.state === "ok", one.state, one.reason, waits(one)]),
    ["stops on the exchange", !pulse.naked.length, pulse.naked.length ? `${pulse.naked.length} without` : "all in place", pulse.naked.map((one) => (Array.isArray(one) ? one.join(" ") : String(one))).join(", "), `p99 ${number(pulse.naked_seconds.p99, 2)} s`],
    ["orders", !pulse.unknown_orders, pulse.unknown_orders ? `${pulse.unknown_orders} unknown` : "all known", "", DASH],
    ["candle storage", !pulse.candle_failures, pulse.candle_failures ? "failed" : "ok", pulse.candle_failures ? `${whole(pulse.candle_failures)} batches could not be saved at once` : "", pulse.candles_waiting ? `${whole(pulse.candles_waiting)} wait` : "nothing waits"],
    ...(pulse.telegram && Object.keys(pulse.telegram).length ? [["Telegram", !notices, notices ? "behind" : "ok", "", notices ? `${whole(notices)} wait` : "nothing waits"]] : []),
  ].map(([name, good, state, reason, age]) => ({ name, good, state, reason, age }));
  const ill = rows.filter((one) => !one.good);
  const columns = [
    { name: "Component", lead: true, of: (one) => one.name },
    { name: "State", lead: true, of: (one) => html`<${Badge} tone=${one.good ? "good" : "bad"}>${one.state}</${Badge}>` },
    { name: "Age", of: (one) => one.age || DASH },
    { name: "Why", full: true, wrap: true, of: (one) => one.reason || DASH },
  ];
  return html`<${Panel} title="Components" wide>
    <p class="verdict">${ill.length ? `${ill.length} of ${rows.length} want attention: ${ill.map((one) => one.name).join(", ")}.` : `All ${rows.length} components are well.`}</p>
    <${Table} columns=${columns} rows=${[...ill, ...rows.filter((one) => one.good)]} label="State of the components" keyOf=${(one) => one.name} />
  </${Panel}>`;
}

function Loop({ pulse }) {
  const version = useData("/version", {}, { everyS: 60 });
  if (!pulse) return html`<${Panel} title="Process">${waiting}</${Panel}>`;
  return html`<${Panel} title="Process"><dl class="figures">
    <${Figure} name="Loop lag p99" value=${`${pulse.loop_lag_p99_ms} ms`} note=${`at most ${number(pulse.loop_lag_max_ms, 1)} ms`} />
    <${Figure} name="Bar to order p99" value=${`${pulse.bar_to_order_ms.p99} ms`} />
    <${Figure} name="Started in" value=${`${number(pulse.recovery_s, 1)} s`} />
    ${version.data && html`<${Figure} name="Up" value=${version.data.up} note=${`${version.data.revenant} on Python ${version.data.python}`} />`}
  </dl></${Panel}>`;
}

function Counters({ pulse }) {
  if (!pulse) return html`<${Panel} title="Feed">${waiting}</${Panel}>`;
  const written = Object.fromEntries([["journal", pulse.ledger.records], ...Object.entries(pulse.tiers).map(([name, one]) => [name, one.written])].map(([name, count]) => [`written to ${name}`, count]));
  return html`<${Panel} title="Feed and tiers">
    <dl class="pairs">${Object.entries({ ...pulse.feed, ...pulse.frames, ...written }).map(([name, value]) => html`<div><dt>${words(name)}</dt><dd>${whole(value)}</dd></div>`)}</dl>
  </${Panel}>`;
}

function Threads({ pulse }) {
  if (!pulse) return html`<${Panel} title="Threads">${waiting}</${Panel}>`;
  const took = [
    { name: "Thread", of: (one) => one.name },
    { name: "Median", right: true, of: (one) => `${one.p50} ms` },
    { name: "p99", right: true, of: (one) => `${one.p99} ms` },
    { name: "At most", right: true, of: (one) => `${whole(one.max)} ms` },
  ];
  const threads = Object.entries(pulse.threads).map(([name, one]) => ({ name, ...one }));
  return html`<${Panel} title="How long their threads take"><${Table} columns=${took} rows=${threads} label="How long threads take" keyOf=${(one) => one.name} /></${Panel}>`;
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

const LEVELS = [["", "everything"], ["warning error critical", "warnings and errors"], ["error critical", "errors"]];

function Log() {
  const [asked, ask] = useState("");
  const [level, setLevel] = useState("");
  const held = useData("/logs", { lines: 1000 }, { everyS: 3 });
  const fits = (line) => (!level || level.split(" ").includes(line.split(/\s+/)[1])) && line.toLowerCase().includes(asked.toLowerCase());
  return html`<${Panel} title="Log" wide aside=${html`<div class="row wrap"><${Select} label="Level" value=${level} options=${LEVELS} onChange=${setLevel} />
      <label class="field"><span>Only lines with</span><input value=${asked} onInput=${(e) => ask(e.target.value)} /></label></div>`}>
    <${Shown} of=${held} empty="Nothing is in the log yet.">${(lines) => {
      const found = lines.filter(fits).reverse();
      return html`<p class="quiet" role="status">${whole(found.length)} of the newest ${whole(lines.length)} lines, the newest first</p>
        <pre class="log" role="group" tabindex="0" aria-label="Newest lines of the log">${found.slice(0, 300).join("\n")}</pre>`;
    }}</${Shown}>
  </${Panel}>`;
}

const flat = (tree, path = "") => Object.entries(tree).flatMap(([name, value]) =>
  value && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length ? flat(value, `${path}${name}.`) : [[`${path}${name}`, value]]);

function Settings() {
  const [asked, ask] = useState("");
  const held = useData("/config", {}, { everyS: 60 });
  return html`<${Folded} title="Settings in force"><${Panel} title="Settings" wide aside=${html`<label class="field inline"><span>Only keys with</span><input value=${asked} onInput=${(e) => ask(e.target.value)} /></label>`}>
    <${Shown} of=${held} when=${() => false}>${(data) => html`<dl class="pairs scroll" tabindex="0" aria-label="Settings in force, secrets masked">
      ${flat(data).filter(([name]) => name.includes(asked)).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value === "" || value === null || (Array.isArray(value) && !value.length) ? DASH : typeof value === "object" ? JSON.stringify(value) : String(value)}</dd></div>`)}</dl>`}</${Shown}>
  </${Panel}></${Folded}>`;
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
