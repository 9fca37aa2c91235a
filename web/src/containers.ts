import { api, ApiError, type Container, type Profile } from "./api";
import { createDialog } from "./create";
import { h } from "./dom";
import { Events, type Message } from "./events";

const ENDED = "Your session has ended. Sign in again.";

export interface ContainersCallbacks {
  open(container: Container): void;
  signedOut(reason: string): void;
}

/** The list of one's containers, live. */
export class ContainersView {
  readonly element: HTMLElement;
  private readonly rows = new Map<string, Container>();
  private readonly list = h("ul", { class: "containers" });
  private readonly trouble = h("p", { class: "trouble", role: "alert" });
  private readonly usage = h("span", { class: "usage" });
  private readonly connection = h("span", { class: "connection", title: "live" });
  private readonly events: Events;
  private limit: number | null = null;

  constructor(
    private readonly profile: Profile,
    private readonly on: ContainersCallbacks,
  ) {
    const who = `${profile.user.username} · ${profile.user.tier}`;
    this.element = h(
      "main",
      { class: "list" },
      h(
        "header",
        {},
        h("h1", {}, h("img", { src: "/icon.svg", alt: "", width: 28 }), "Rexec"),
        this.connection,
        this.usage,
        h("span", { class: "who" }, who),
        h("button", { onclick: () => this.signOut() }, "Sign out"),
        h("button", { class: "primary", id: "new", onclick: () => this.guard(() => this.create()) }, "New container"),
      ),
      this.trouble,
      this.list,
    );
    this.events = new Events({
      message: (message) => this.apply(message),
      refresh: () => void this.guard(() => this.refresh()),
      connected: (up) => this.connection.classList.toggle("up", up),
      signedOut: () => on.signedOut(ENDED),
    });
  }

  close(): void {
    this.events.close();
  }

  private async guard(work: () => Promise<unknown>): Promise<void> {
    this.trouble.textContent = "";
    try {
      await work();
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.on.signedOut(ENDED);
      else this.trouble.textContent = (error as Error).message;
    }
  }

  private async refresh(): Promise<void> {
    const answer = await api.containers();
    this.limit = answer.limit;
    this.rows.clear();
    for (const container of answer.containers) this.rows.set(container.id, container);
    this.draw();
  }

  private async create(): Promise<void> {
    const [{ images }, { roles }] = await Promise.all([api.images(), api.roles()]);
    const dialog = createDialog(this.profile, images, roles, (container) => this.begin(container));
    this.element.append(dialog);
    dialog.showModal();
  }

  private async signOut(): Promise<void> {
    await api.signOut().catch(() => undefined);
    this.on.signedOut("");
  }

  /** The answer of a create; events of its progress may have come before it. */
  private begin(container: Container): void {
    if (!this.rows.has(container.id)) this.put(container);
  }

  private put(container: Container): void {
    this.rows.set(container.id, { ...this.rows.get(container.id), ...container });
    this.draw();
  }

  private apply(message: Message): void {
    const data = message.data as unknown as Container;
    if (message.type === "container_deleted") {
      this.rows.delete(data.id);
      this.draw();
    } else if (message.type === "container_progress") {
      const row = this.rows.get(data.id);
      if (row) this.put({ ...row, stage: data.stage, progress: data.progress, message: data.message });
    } else if (message.type.startsWith("container_")) {
      this.put(data);
    }
  }

  private draw(): void {
    const rows = [...this.rows.values()].sort((a, b) => b.created_at.localeCompare(a.created_at));
    const counted = rows.filter((row) => row.status !== "error").length;
    this.usage.textContent = this.limit ? `${counted} of ${this.limit} containers` : `${counted} containers`;
    this.list.replaceChildren(...rows.map((row) => this.item(row)));
    if (rows.length === 0) this.list.append(h("li", { class: "empty" }, "No containers yet. Make one: it takes a moment."));
  }

  private item(row: Container): HTMLElement {
    const { memory_mb, cpu_shares, disk_mb } = row.resources;
    const facts = [row.custom_image ?? row.image, row.role, `${memory_mb} MB`, `${cpu_shares / 1000} cores`, `${disk_mb} MB disk`];
    const note = [row.reason, row.message].filter(Boolean).join(": ");
    const creating = row.status === "creating" || row.status === "starting";
    return h(
      "li",
      { class: "container", "data-id": row.id, "data-status": row.status },
      h("div", { class: "title" }, h("strong", {}, row.name), h("span", { class: `badge ${row.status}` }, row.status)),
      h("div", { class: "facts" }, facts.filter(Boolean).join(" · ")),
      creating && h("progress", { max: 100, value: row.progress ?? 0 }),
      creating
        ? h("div", { class: "note" }, `${row.stage ?? ""} ${row.progress ?? 0} % ${row.message ?? ""}`)
        : note !== "" && row.status !== "running" && h("div", { class: "note" }, note),
      h("div", { class: "actions" }, ...this.actions(row)),
    );
  }

  private actions(row: Container): HTMLElement[] {
    const button = (label: string, work: () => Promise<unknown>, kind = "") =>
      h("button", { class: kind, onclick: () => this.guard(work) }, label);
    const verbs: HTMLElement[] = [];
    if (row.status === "running" || row.status === "creating") {
      verbs.push(h("button", { class: "primary", onclick: () => this.on.open(row) }, "Terminal"));
    }
    if (row.status === "running") verbs.push(button("Stop", () => api.act(row.id, "stop")));
    if (row.status === "paused") verbs.push(button("Resume", () => api.act(row.id, "resume")));
    if (row.status === "stopped" || row.status === "error") verbs.push(button("Start", () => api.act(row.id, "start")));
    verbs.push(
      button(
        "Delete",
        async () => {
          if (confirm(`Delete ${row.name} and everything in it?`)) await api.remove(row.id);
        },
        "danger",
      ),
    );
    return verbs;
  }
}
