export type Status = "creating" | "running" | "paused" | "stopping" | "stopped" | "starting" | "error";

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
}

export interface Range {
  default: number;
  max: number;
}

export interface Profile {
  user: { id: string; username: string; tier: string; is_admin?: boolean; guest?: boolean };
  limits: { containers: number | null; memory_mb: Range; cpu_shares: Range; disk_mb: Range };
  usage: { containers: number };
}

export interface ImageEntry {
  name: string;
  aliases: string[];
  present?: boolean;
}

export interface RoleEntry {
  name: string;
  description?: string;
}

/** An error body of the contract, as an exception. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string,
    readonly body: Record<string, unknown>,
  ) {
    super(message);
  }
}

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await fetch(path, {
    method,
    credentials: "same-origin",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  if (!response.ok) throw new ApiError(response.status, explain(answer, response), String(answer.code ?? ""), answer);
  return answer as T;
}

function explain(answer: Record<string, unknown>, response: Response): string {
  const details = answer.details as { field: string; message: string }[] | undefined;
  const parts = [String(answer.error ?? response.statusText)];
  for (const detail of details ?? []) parts.push(`${detail.field}: ${detail.message}`);
  if (typeof answer.message === "string") parts.push(answer.message);
  return parts.join(" · ");
}

const at = (id: string) => `/api/containers/${encodeURIComponent(id)}`;

export const api = {
  profile: () => call<Profile>("GET", "/api/profile"),
  signIn: (token: string) => call<unknown>("POST", "/api/auth/session", { token }),
  signOut: () => call<unknown>("DELETE", "/api/auth/session"),
  guest: (username: string) => call<{ token: string }>("POST", "/api/auth/guest", { username }),
  containers: () => call<{ containers: Container[]; limit: number | null }>("GET", "/api/containers"),
  images: () => call<{ images: ImageEntry[] }>("GET", "/api/images"),
  roles: () => call<{ roles: RoleEntry[] }>("GET", "/api/roles"),
  create: (wanted: Record<string, unknown>) => call<Container>("POST", "/api/containers", wanted),
  remove: (id: string) => call<unknown>("DELETE", at(id)),
  act: (id: string, verb: "start" | "stop" | "pause" | "resume") => call<unknown>("POST", `${at(id)}/${verb}`, {}),
};

export function socketUrl(path: string): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}
