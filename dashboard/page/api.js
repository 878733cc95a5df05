// Asks the API. What goes wrong is a Problem whose text can be shown.

export class Problem extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

const session = { signed_in: false, may_read: false, has_password: false, csrf: "", mode: "", running: false };
const watchers = new Set();

export const who = () => session;

export function watchSession(told) {
  watchers.add(told);
  return () => watchers.delete(told);
}

function learn(found) {
  Object.assign(session, found);
  for (const told of watchers) told({ ...session });
}

export function query(values) {
  const kept = Object.entries(values || {}).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
}

async function sent(method, path, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["X-CSRF-Token"] = session.csrf;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem("The bot does not answer. Is it running?", 0);
  }
  const text = await answer.text();
  let told = null;
  try {
    told = text ? JSON.parse(text) : null;
  } catch {
    throw new Problem(`The answer to ${path} is no JSON (HTTP ${answer.status}).`, answer.status);
  }
  if (answer.ok) return told;
  if (answer.status === 401 && !path.endsWith("/session")) learn({ signed_in: false, csrf: "" });
  throw new Problem(said(told, answer.status), answer.status);
}

function said(told, status) {
  const detail = told && told.detail;
  if (Array.isArray(detail)) return detail.map((one) => `${one.where}: ${one.problem}`).join("; ");
  return detail || `HTTP ${status}`;
}

export const get = (path, values) => sent("GET", `/api/v1${path}${query(values)}`);
export const post = (path, body) => sent("POST", `/api/v1${path}`, body);
export const remove = (path) => sent("DELETE", `/api/v1${path}`);
export const order = (path, body) => post(path, { confirm: true, reason: "from the page", ...body });

export const recall = async () => learn(await get("/session"));
export const signIn = async (secret) => learn(await post("/session", { secret }));
export const signOut = async () => learn(await remove("/session"));
