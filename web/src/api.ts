export type Status = "creating" | "running" | "paused" | "stopping" | "stopped" | "starting" | "error";
export type Verb = "start" | "stop" | "pause" | "resume" | "renew";

export interface Container {
  id: string;
  name: string;
  image: string;
  custom_image?: string | null;
  role?: string | null;
  status: Status;
  stage?: string | null;
  progress?: number | null;
  reason?: string | null;
  message?: string | null;
  created_at: string;
  expires_at?: string | null;
  resources: { memory_mb: number; cpu_shares: number; disk_mb: number };
  enforced?: Record<string, boolean>;
  /** What its role promises and it lacks, each with the reason. */
  degraded?: string[];
}

export interface Range {
  default: number;
  max: number;
  min: number;
}

export type SizeName = "memory_mb" | "cpu_shares" | "disk_mb";

export interface Limits extends Record<SizeName, Range> {
  containers: number | null;
  session_seconds: number | null;
  creates_per_minute: number | null;
  requests_per_minute: number | null;
  sockets: number | null;
  terminals: number | null;
}

export interface Profile {
  user: { id: string; username: string; tier: string; guest: boolean; is_admin: boolean; expires_at?: string };
  limits: Limits;
  usage: { containers: number };
}

export interface ImageEntry {
  name: string;
  category: string;
  description: string;
  present?: boolean | null;
  /** Whether this host can run it at all. */
  available: boolean;
}

export interface RoleEntry {
  name: string;
  description?: string;
}

/** An error body of the contract, as an exception. Status 0: the server did not answer. */
export class ApiError extends Error {
  readonly code: string;
  readonly details: { field: string; message: string }[];

  constructor(
    readonly status: number,
    readonly body: Record<string, unknown>,
  ) {
    super(String(body.error ?? "the server did not answer"));
    this.code = String(body.code ?? "");
    this.details = (body.details ?? []) as { field: string; message: string }[];
  }
}

let ahead = 0;

/** Now by the server's clock: what its times are compared with. */
export function serverNow(): number {
  return Date.now() + ahead;
}

async function call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  if (body !== undefined) headers = { ...headers, "Content-Type": "application/json" };
  const sent = body === undefined ? null : JSON.stringify(body);
  const response = await fetch(path, { method, credentials: "same-origin", headers, body: sent }).catch(() => {
    throw new ApiError(0, {});
  });
  const date = Date.parse(response.headers.get("Date") ?? "");
  if (!Number.isNaN(date) && Math.abs(date - Date.now()) > 2000) ahead = date - Date.now();
  const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  if (!response.ok) throw new ApiError(response.status, { error: response.statusText, ...answer });
  return answer as T;
}

async function allContainers(): Promise<Container[]> {
  const all: Container[] = [];
  let cursor: string | undefined;
  do {
    const query = cursor === undefined ? "" : `?cursor=${encodeURIComponent(cursor)}`;
    const page = await call<{ containers: Container[]; next_cursor?: string }>("GET", `/api/containers${query}`);
    all.push(...page.containers);
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return all;
}

/** Whether the server can be reached, whatever became of a socket. */
async function answers(): Promise<boolean> {
  return fetch("/health", { cache: "no-store", signal: AbortSignal.timeout(5000) }).then(({ ok }) => ok, () => false);
}

const at = (id: string) => `/api/containers/${encodeURIComponent(id)}`;

export const api = {
  answers,
  profile: () => call<Profile>("GET", "/api/profile"),
  signIn: (token: string) => call<unknown>("POST", "/api/auth/session", { token }),
  signOut: () => call<unknown>("DELETE", "/api/auth/session"),
  guest: (username: string) => call<{ token: string }>("POST", "/api/auth/guest", { username }),
  containers: allContainers,
  container: (id: string) => call<Container>("GET", at(id)),
  images: () => call<{ images: ImageEntry[] }>("GET", "/api/images"),
  roles: () => call<{ roles: RoleEntry[] }>("GET", "/api/roles"),
  create: (wanted: Record<string, unknown>, key: string) =>
    call<Container>("POST", "/api/containers", wanted, { "Idempotency-Key": key }),
  remove: (id: string) => call<unknown>("DELETE", at(id)),
  act: (id: string, verb: Verb) => call<unknown>("POST", `${at(id)}/${verb}`),
};

export function socketUrl(path: string): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}
