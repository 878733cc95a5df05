// The shell: navigation, who has signed in, which view is shown.

import { html, render, useEffect, useState } from "./vendor/preact.js";
import { recall, signIn, signOut, watchSession, who } from "./api.js";
import * as live from "./live.js";
import { Badge, Dialog, Trouble } from "./parts.js";

const VIEWS = [
  ["overview", "Overview"], ["charts", "Charts"], ["trades", "Trades"], ["performance", "Performance"], ["backtests", "Backtests"],
  ["phantoms", "Phantoms"], ["models", "Models"], ["data", "Data"], ["system", "System"], ["api", "API"],
];
const THEMES = { auto: "Follow the system", light: "Light", dark: "Dark" };

function here() {
  const name = location.hash.slice(1).split("?")[0];
  return VIEWS.some((one) => one[0] === name) ? name : "overview";
}

function SignIn({ close }) {
  const [said, say] = useState("");
  const send = async (event) => {
    event.preventDefault();
    try {
      await signIn(new FormData(event.target).get("secret"));
      close();
    } catch (error) {
      say(error.message);
    }
  };
  const plain = location.protocol === "http:" && !["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  return html`<form class="stack" onSubmit=${send}>
    ${plain && html`<p class="bad">This connection is not encrypted: others on the way can read what you type.</p>`}
    ${who().has_password
      ? html`<label class="field"><span>Password</span><input name="secret" type="password" autocomplete="current-password" required autofocus /></label>`
      : html`<p>No password is set. Run <code>python manage.py dashboard</code> beside the bot: it prints a link that signs you in. Or set <code>DASHBOARD_PASSWORD</code>.</p>
        <label class="field"><span>Key of a link</span><input name="secret" autocomplete="off" required /></label>`}
    ${said && html`<p role="alert" class="bad">${said}</p>`}
    <div class="row end"><button class="main">Sign in</button></div>
  </form>`;
}

function Head({ view, session, pulse, connected, ask }) {
  const [theme, setTheme] = useState(localStorage.getItem("theme") || "auto");
  useEffect(() => {
    localStorage.setItem("theme", theme);
    document.documentElement.dataset.theme = theme;
  }, [theme]);
  return html`<header class="top">
    <a class="skip" href="#content">Skip to the content</a>
    <div class="row">
      <strong class="brand">Revenant</strong>
      ${session.mode && html`<span class=${`mode ${session.mode.toLowerCase()}`}>${session.mode}</span>`}
      <span aria-live="polite">${pulse && (pulse.ready
        ? html`<${Badge} tone="good">able to trade</${Badge}>`
        : html`<${Badge} tone="warn">no entries</${Badge}>`)}
        ${!connected && session.may_read && html` <${Badge} tone="bad">not connected</${Badge}>`}</span>
      <span class="space"></span>
      <label class="field inline"><span class="unseen">Colours</span>
        <select value=${theme} onChange=${(e) => setTheme(e.target.value)}>
          ${Object.entries(THEMES).map(([key, name]) => html`<option value=${key}>${name}</option>`)}</select></label>
      ${session.signed_in
        ? html`<button type="button" onClick=${() => signOut().then(recall)}>Sign out</button>`
        : html`<button type="button" onClick=${ask}>Sign in</button>`}
    </div>
    <nav aria-label="Views"><ul>${VIEWS.map(([key, name]) => html`<li>
      <a href=${`#${key}`} aria-current=${view === key ? "page" : undefined}>${name}</a></li>`)}</ul></nav>
  </header>`;
}

function App() {
  const [view, setView] = useState(here());
  const [session, setSession] = useState(who());
  const [asking, ask] = useState(false);
  const [shown, show] = useState(null);
  const [trouble, setTrouble] = useState(null);
  const [pulse, setPulse] = useState(null);
  const [connected, setConnected] = useState(true);

  useEffect(() => watchSession(setSession), []);
  useEffect(() => live.listen("pulse", setPulse), []);
  useEffect(() => live.listen("connection", setConnected), []);
  useEffect(() => {
    const moved = () => setView(here());
    addEventListener("hashchange", moved);
    // somebody may have gone on between the first drawing and now
    moved();
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(() => {
    if (!session.may_read) {
      live.close();
      return undefined;
    }
    live.open();
    return live.close;
  }, [session.may_read]);
  useEffect(() => {
    let gone = false;
    document.title = `${VIEWS.find((one) => one[0] === view)[1]} · Revenant`;
    import(`./views/${view}.js`).then(
      (found) => !gone && show(() => found.View),
      () => !gone && setTrouble(new Error("The view cannot be loaded. Is the bot running?")),
    );
    return () => {
      gone = true;
    };
  }, [view]);

  const content = !session.may_read
    ? html`<section class="panel narrow"><h1>Sign in</h1><${SignIn} close=${() => {}} /></section>`
    : trouble ? html`<${Trouble} error=${trouble} retry=${() => location.reload()} />`
    : shown && html`<${shown} key=${view} session=${session} signIn=${() => ask(true)} />`;
  return html`<${Head} view=${view} session=${session} pulse=${pulse} connected=${connected} ask=${() => ask(true)} />
    <main id="content" tabindex="-1">
      <h1 class="unseen">${VIEWS.find((one) => one[0] === view)[1]}</h1>
      ${pulse && !pulse.ready && html`<div class="notice" role="status"><strong>No entries are made:</strong> ${pulse.reasons.join("; ")}</div>`}
      ${pulse && pulse.ready && pulse.notes?.length > 0 && html`<div class="notice" role="status">${pulse.notes.join("; ")}</div>`}
      ${content}
    </main>
    <footer>Times are UTC. Charts by <a href="https://www.tradingview.com/" rel="noreferrer noopener">TradingView Lightweight Charts™</a>.</footer>
    ${asking && !session.signed_in && html`<${Dialog} title="Sign in" close=${() => ask(false)}><${SignIn} close=${() => ask(false)} /></${Dialog}>`}`;
}

async function begin() {
  const key = new URLSearchParams(location.hash.split("?")[1] || "").get("key");
  if (key) {
    // the key works once; it must not stay in the address
    history.replaceState(null, "", location.pathname);
    await signIn(key).catch(() => {});
  }
  document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto";
  const root = document.getElementById("app");
  try {
    await recall();
  } catch (error) {
    root.textContent = "";
    render(html`<main><${Trouble} error=${error} retry=${() => location.reload()} /></main>`, root);
    return;
  }
  root.textContent = "";
  render(html`<${App} />`, root);
}

begin();
