// Long work that was begun on the page, as it goes on.

import { useData, useEffect, useState } from "./parts.js";
import { listen } from "./live.js";

export const TONES = { running: "warn", done: "good", degraded: "warn", failed: "bad", ended: "" };

// Returns the works of this bot, the newest first, and the question whose answer they are.
export function useWorks() {
  const held = useData("/works", {}, { everyS: 60 });
  const [fresh, setFresh] = useState({});
  useEffect(() => listen("work", (work) => setFresh((before) => ({ ...before, [work.number]: work }))), []);
  if (!held.data) return { held, rows: null };
  const unlisted = Object.values(fresh).filter((one) => !held.data.some((old) => old.number === one.number));
  const listed = held.data.map((one) => (fresh[one.number] && !one.ended_at ? fresh[one.number] : one));
  return { held, rows: [...unlisted, ...listed].sort((a, b) => b.number - a.number) };
}
