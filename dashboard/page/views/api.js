// What programs can ask, from the API's own description.

import { Panel, Table, html, useEffect, useState, Trouble } from "../parts.js";

export function View() {
  const [told, tell] = useState(null);
  const [error, fail] = useState(null);
  useEffect(() => {
    fetch("/api/v1/openapi.json").then((answer) => answer.json()).then(tell, fail);
  }, []);
  if (error) return html`<${Trouble} error=${error} />`;
  if (!told) return html`<p class="quiet" role="status">Loading …</p>`;
  const groups = new Map();
  for (const [path, methods] of Object.entries(told.paths)) {
    for (const [method, one] of Object.entries(methods)) {
      const tag = (one.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push({ path, method: method.toUpperCase(), ...one });
    }
  }
  const columns = [
    { name: "Method", of: (one) => one.method },
    { name: "Path", full: true, of: (one) => html`<code>${one.path}</code>` },
    { name: "What", full: true, of: (one) => one.description || one.summary },
    { name: "Asks for", full: true, of: (one) => asks(one, told) },
  ];
  return html`<div class="stack">
    <p>The whole description is at <a href="/api/v1/openapi.json">/api/v1/openapi.json</a>. Programs send <code>Authorization: Bearer</code> with the password, or with the token in <code>dashboard.json</code> in the data folder.</p>
    ${[...groups].map(([tag, rows]) => html`<${Panel} title=${tag} wide><${Table} columns=${columns} rows=${rows} label=${`Paths about ${tag}`} keyOf=${(one) => one.method + one.path} /></${Panel}>`)}
  </div>`;
}

function asks(one, told) {
  const given = (one.parameters || []).map((each) => `${each.name}${each.required ? "" : "?"}`);
  const body = one.requestBody && one.requestBody.content["application/json"];
  const name = body && body.schema.$ref && body.schema.$ref.split("/").pop();
  const shape = name && told.components.schemas[name];
  const needed = shape ? shape.required || [] : [];
  return [...given, ...(shape ? Object.keys(shape.properties).map((each) => `${each}${needed.includes(each) ? "" : "?"}`) : [])].join(", ") || "–";
}
