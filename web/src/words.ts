import { ApiError, serverNow, type Container, type SizeName } from "./api";

/** What the page says, in one place: reasons, sizes, times and errors as plain words. */

export const ENDED = "Your session has ended. Sign in again.";

const REASONS: Record<string, string> = {
  user: "Stopped by you",
  expired: "Its session ended",
  idle: "Stopped because nobody used it",
  exited: "It ended by itself",
  killed: "Killed from outside",
  lost: "Lost by the engine",
  out_of_memory: "Out of memory",
  disk_full: "Its disk is full",
  image_not_found: "There is no such image",
  pull_failed: "The image could not be fetched",
  setup_failed: "It could not be set up",
  engine_error: "The engine refused",
  engine_restarted: "The engine was restarted",
  recreated: "It was made anew",
};

export const NAME_RULE = "Must have 1 to 64 letters, digits, hyphens or underscores, the first one a letter or digit.";

/** Why a container is as it is, and what it lacks; empty where nothing needs an explanation. */
export function why(row: Container): string {
  if (row.status === "running" || row.status === "paused") return (row.degraded ?? []).map((lack) => `Missing: ${lack}`).join(" · ");
  const reason = row.reason ? (REASONS[row.reason] ?? row.reason.replaceAll("_", " ")) : "";
  return [reason, row.message].filter(Boolean).join(": ");
}

export function megabytes(mb: number): string {
  return mb >= 1024 ? `${Number((mb / 1024).toFixed(1))} GB` : `${mb} MB`;
}

export function cores(millicores: number): string {
  return millicores === 1000 ? "1 core" : `${Number((millicores / 1000).toFixed(2))} cores`;
}

export function size(name: SizeName, value: number): string {
  return name === "cpu_shares" ? cores(value) : megabytes(value);
}

/** `49 h 59 min`, `4 min`, `12 s`. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const days = Math.floor(s / 86_400);
  const hours = Math.floor((s % 86_400) / 3600);
  const minutes = Math.floor((s % 3600) / 60);
  if (days >= 3) return `${days} days`;
  const all = days * 24 + hours;
  return all > 0 ? `${all} h ${minutes} min` : `${minutes} min`;
}

export function secondsUntil(time: string): number {
  return (Date.parse(time) - serverNow()) / 1000;
}

/** While a terminal is cut: there is nowhere to keep keys for a shell that may be gone. */
export function cut(): string {
  return `${navigator.onLine ? "reconnecting…" : "your browser is offline…"} what you type is not sent`;
}

/** While the list is cut. */
export function outage(answers: boolean): string {
  if (answers) return "Changes are not shown as they happen: connecting again…";
  if (!navigator.onLine) return "Your browser is offline. This list may be out of date.";
  return "The server does not answer: trying again… This list may be out of date.";
}

/** Whether a name may be asked for; the server decides. */
export function nameable(name: string): boolean {
  return name === "" || /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(name);
}

export function explain(error: unknown): string {
  if (!(error instanceof ApiError)) return sentence((error as Error).message);
  const seconds = Number(error.body.retry_after);
  const later = Number.isFinite(seconds) && seconds > 0 ? ` Try again in ${duration(seconds)}.` : "";
  if (error.status === 0) return "The server does not answer. Is it running, and are you online?";
  if (error.status === 401) return "This token is unknown, has expired or was revoked.";
  if (error.code === "container_limit_reached") {
    return `You have ${String(error.body.current)} of ${String(error.body.limit)} containers: delete one first.`;
  }
  if (error.status === 429) return `That was too often.${later}`;
  return sentence(error.message) + later;
}

export function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}
