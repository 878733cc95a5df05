// One stream of events for the whole page. Views listen; the pulse is kept, so that a view that opens has it at once.

const listeners = new Map();
let source = null;
let heard = 0;
export const state = { pulse: null, connected: false };

export function listen(event, told) {
  if (!listeners.has(event)) listeners.set(event, new Set());
  listeners.get(event).add(told);
  return () => listeners.get(event).delete(told);
}

function tell(event, data) {
  for (const told of listeners.get(event) || []) told(data);
}

function connected(yes) {
  if (state.connected === yes) return;
  state.connected = yes;
  tell("connection", yes);
}

export function open() {
  close();
  source = new EventSource("/api/v1/events");
  for (const event of ["pulse", "bars", "entry", "refused", "trade", "work"]) {
    source.addEventListener(event, (message) => {
      heard = Date.now();
      connected(true);
      const data = JSON.parse(message.data);
      if (event === "pulse") state.pulse = data;
      tell(event, data);
    });
  }
  source.onerror = () => {
    connected(false);
    // a refused stream is not tried again by the browser
    if (source && source.readyState === EventSource.CLOSED) setTimeout(() => source && open(), 3000);
  };
}

export function close() {
  if (source) source.close();
  source = null;
}

setInterval(() => {
  if (source && Date.now() - heard > 5000) connected(false);
}, 1000);
