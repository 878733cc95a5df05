// Numbers and times as people read them. What is not known is a dash, never a zero.

export const DASH = "–";

const known = (value) => value !== null && value !== undefined && value !== "" && !Number.isNaN(Number(value));

export function number(value, digits = 2) {
  if (!known(value)) return DASH;
  return Number(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export const whole = (value) => number(value, 0);

// a price keeps its own digits
export function price(value) {
  if (!known(value)) return DASH;
  const size = Math.abs(Number(value));
  const digits = size >= 1000 ? 2 : size >= 1 ? 4 : size >= 0.01 || !size ? 6 : Math.min(16, 4 - Math.floor(Math.log10(size)));
  return Number(value).toLocaleString("en", { maximumFractionDigits: digits });
}

export function signed(value, digits = 2) {
  if (!known(value)) return DASH;
  const text = number(Math.abs(Number(value)), digits);
  return Number(value) < 0 ? `−${text}` : `+${text}`;
}

export const percent = (value, digits = 1) => (known(value) ? `${number(value, digits)} %` : DASH);

export function moment(value) {
  if (!value) return DASH;
  const text = new Date(value).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, 16)}`;
}

export function lasted(seconds) {
  if (!known(seconds)) return DASH;
  const s = Math.round(Number(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d`;
}

export const coin = (symbol) => String(symbol).split("/")[0];

export const words = (name) => String(name).replaceAll("_", " ").replaceAll("-", " ");

// a verdict of a training run, with what it means for the model in use
export const spoken = (verdict, ready) =>
  verdict === "rejected" && ready ? `${verdict} (previous model stays)` : verdict === "demoted" ? `${verdict} (no model in use now)` : verdict;
