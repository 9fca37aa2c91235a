import { api, ApiError, type Container, type Profile } from "./api";
import { Countdown } from "./clock";
import { createDialog } from "./create";
import { h, setText } from "./dom";
import { Events, type Message } from "./events";
import { Limits } from "./limits";
import { Row } from "./row";
import { duration, ENDED, explain, outage, secondsUntil, why } from "./words";

export interface ContainersCallbacks {
  open(container: Container): void;
  signOut(): void;
  signedOut(reason: string): void;
}

/** The list of one's containers, live. */
export class ContainersView {
  readonly element: HTMLElement;
  private readonly rows = new Map<string, Row>();
  private readonly list = h("ul", { class: "containers" });
  private readonly empty = h("p", { class: "empty", hidden: true }, "No containers yet. Make one: it takes a moment.");
  private readonly trouble = h("p", { class: "error banner", role: "alert" });
  private readonly outage = h("p", { class: "error banner", role: "status" });
  private readonly said = h("p", { class: "unseen", role: "status" });
  private readonly usage = h("span", { class: "usage" });
  private readonly connection = h("span", { class: "connection", role: "img" });
  private readonly fresh = h("button", { class: "primary", id: "new", onclick: () => void this.attempt(() => this.create()) }, "New container");
  private readonly out = h("button", { onclick: () => this.on.signOut() }, "Sign out");
  private readonly work = h("fieldset", {}, this.list);
  /** Had the focus when everything was disabled. */
  private held: Element | null = null;
  private live = false;
  private readonly accountEnds = new Countdown("account ends in ");
  private readonly limits: Limits;
  private readonly events: Events;
  /** What came while the list was being asked for: it is newer than parts of the answer. */
  private missed: Message[] | null = null;

  constructor(
    private readonly profile: Profile,
    private readonly on: ContainersCallbacks,
    welcome: HTMLElement | null,
    /** The container whose terminal one comes back from. */
    private from: string | undefined,
  ) {
    this.limits = new Limits(profile);
    this.accountEnds.set(profile.user.expires_at);
    this.light("Connecting");
    this.element = h(
      "main",
      { class: "list" },
      h(
        "header",
        {},
        h("h1", {}, h("img", { src: "/icon.svg", alt: "", width: 28, height: 28 }), "Rexec"),
        this.connection,
        this.usage,
        h("span", { class: "who" }, `${profile.user.username} · ${profile.user.tier}`),
        this.accountEnds.element,
        this.out,
        this.fresh,
      ),
      welcome,
      this.outage,
      this.trouble,
      this.said,
      this.work,
      this.empty,
      this.limits.element,
    );
    this.events = new Events({
      message: (message) => (this.missed === null ? this.apply(message) : this.missed.push(message)),
      refresh: () => void this.attempt(() => this.refresh()),
      connected: (up) => this.connected(up),
      signedOut: () => on.signedOut(ENDED),
    });
  }

  close(): void {
    this.events.close();
    this.accountEnds.stop();
    for (const row of this.rows.values()) row.leave();
  }

  private connected(up: boolean): void {
    this.live = up;
    this.light(up ? "Live" : "Not connected, trying again");
    if (up) this.told("", true);
    else void api.answers().then((answers) => !this.live && this.told(outage(answers), answers));
  }

  private light(text: string): void {
    this.connection.classList.toggle("up", this.live);
    this.connection.setAttribute("aria-label", text);
    this.connection.title = text;
  }

  /** What needs the server can be asked for only while it answers. */
  private told(trouble: string, answers: boolean): void {
    setText(this.outage, trouble);
    if (answers !== this.work.disabled) return;
    if (!answers) this.held = document.activeElement;
    for (const control of [this.fresh, this.out, this.work]) control.disabled = !answers;
    if (answers && this.held instanceof HTMLElement && document.activeElement === document.body) this.held.focus();
  }

  private async attempt(work: () => Promise<unknown>): Promise<void> {
    setText(this.trouble, "");
    try {
      await work();
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.on.signedOut(ENDED);
      else setText(this.trouble, explain(error));
    }
  }

  private async refresh(): Promise<void> {
    this.missed ??= [];
    try {
      const containers = await api.containers();
      const present = new Set(containers.map(({ id }) => id));
      for (const id of this.rows.keys()) if (!present.has(id)) this.drop(id);
      for (const container of containers) this.put(container);
    } finally {
      const missed = this.missed;
      this.missed = null;
      for (const message of missed) this.apply(message);
      this.arrange();
    }
    this.comeBack();
  }

  private comeBack(): void {
    if (this.from === undefined) return;
    if (document.activeElement === document.body) (this.rows.get(this.from) ?? this.fresh).focus();
    this.from = undefined;
  }

  private async create(): Promise<void> {
    const [{ images }, { roles }] = await Promise.all([api.images(), api.roles()]);
    const dialog = createDialog(this.profile, images, roles, {
      // Events of its progress may have come before the answer.
      created: (container) => !this.rows.has(container.id) && this.put(container),
      signedOut: () => this.on.signedOut(ENDED),
    });
    this.element.append(dialog);
    dialog.showModal();
  }

  private put(container: Container): void {
    const row = this.rows.get(container.id);
    if (row) row.show(container);
    else {
      const made = new Row(container, {
        open: this.on.open,
        attempt: (work) => this.attempt(work),
        renewable: (shown) => this.renewable(shown),
      });
      this.rows.set(container.id, made);
      this.arrange();
    }
    this.count();
  }

  private drop(id: string): void {
    const row = this.rows.get(id);
    if (row === undefined) return;
    const focused = row.element.contains(document.activeElement);
    row.leave();
    row.element.remove();
    this.rows.delete(id);
    this.count();
    if (focused) this.fresh.focus();
  }

  /** Newest first; only what is out of place is moved. */
  private arrange(): void {
    const rows = [...this.rows.values()].sort((a, b) => b.container.created_at.localeCompare(a.container.created_at));
    rows.forEach(({ element }, index) => {
      if (this.list.children[index] !== element) this.list.insertBefore(element, this.list.children[index] ?? null);
    });
    this.count();
  }

  private count(): void {
    const counted = [...this.rows.values()].map(({ container }) => container).filter(({ status }) => status !== "error");
    const limit = this.profile.limits.containers;
    const { length } = counted;
    const broken = this.rows.size - length;
    const sum = limit === null ? `${length} container${length === 1 ? "" : "s"}` : `${length} of ${limit} containers`;
    setText(this.usage, broken === 0 ? sum : `${sum}, and ${broken} in error`);
    this.limits.use(counted);
    this.empty.hidden = this.rows.size > 0;
  }

  private apply(message: Message): void {
    const data = message.data as unknown as Container;
    const row = this.rows.get(data.id);
    if (message.type === "container_deleted") {
      if (row) setText(this.said, `${row.container.name} is deleted.`);
      this.drop(data.id);
    } else if (message.type === "container_progress") {
      if (row) row.show({ ...row.container, stage: data.stage, progress: data.progress, message: data.message });
    } else if (message.type.startsWith("container_")) {
      this.announce(message.type, data, row?.container);
      this.put(data);
    }
  }

  /** For who listens instead of looking. */
  private announce(type: string, now: Container, before: Container | undefined): void {
    if (type === "container_expiring" && now.expires_at) {
      setText(this.said, `${now.name} ends in ${duration(secondsUntil(now.expires_at))}.`);
    } else if (before !== undefined && before.status !== now.status) {
      setText(this.said, [`${now.name} is ${now.status}`, why(now)].filter(Boolean).join(": "));
    }
  }

  /** A guest's containers never outlive its account. */
  private renewable({ expires_at }: Container): boolean {
    const account = this.profile.user.expires_at;
    return !expires_at || !account || Date.parse(expires_at) < Date.parse(account);
  }
}
