import { api, type Container, type Status, type Verb } from "./api";
import { Countdown } from "./clock";
import { confirmed } from "./confirm";
import { h, setText } from "./dom";
import { cores, megabytes, why } from "./words";

const OPENABLE: readonly Status[] = ["creating", "starting", "running", "paused"];
const MOVING: readonly Status[] = ["creating", "starting", "stopping"];

const VERBS: { verb: Verb; label: string; busy: string; from: readonly Status[] }[] = [
  { verb: "start", label: "Start", busy: "Starting…", from: ["stopped", "error"] },
  { verb: "resume", label: "Resume", busy: "Resuming…", from: ["paused"] },
  { verb: "pause", label: "Pause", busy: "Pausing…", from: ["running"] },
  { verb: "stop", label: "Stop", busy: "Stopping…", from: ["running", "paused"] },
];

export interface RowCallbacks {
  open(container: Container): void;
  /** Runs `work` and tells its error. */
  attempt(work: () => Promise<unknown>): Promise<void>;
  renewable(container: Container): boolean;
}

/** One container in the list. It is changed in place, so that focus stays where it is. */
export class Row {
  private readonly badge = h("span", { class: "badge" });
  private readonly facts = h("div", { class: "facts" });
  private readonly bar = h("progress", { max: 100 });
  private readonly note = h("p", { class: "note" });
  private readonly countdown = new Countdown();
  private readonly renew: HTMLButtonElement;
  private readonly terminal: HTMLButtonElement;
  private readonly verbs = new Map<Verb, HTMLButtonElement>();
  readonly element: HTMLElement;

  constructor(
    public container: Container,
    private readonly on: RowCallbacks,
  ) {
    const named = (label: string) => ({ "aria-label": `${label} ${this.container.name}` });
    this.renew = h("button", { class: "small", ...named("Renew"), onclick: () => void this.act("renew") }, "Renew");
    this.terminal = h("button", { class: "primary", ...named("Terminal"), onclick: () => on.open(this.container) }, "Terminal");
    for (const { verb, label } of VERBS) {
      this.verbs.set(verb, h("button", { ...named(label), onclick: () => void this.act(verb) }, label));
    }
    const remove = h("button", { class: "danger", ...named("Delete"), onclick: () => void this.remove() }, "Delete");
    this.element = h(
      "li",
      { class: "container", "data-id": container.id },
      h("div", { class: "title" }, h("h2", {}, container.name), this.badge, this.countdown.element, this.renew),
      this.facts,
      this.bar,
      this.note,
      h("div", { class: "actions" }, this.terminal, ...this.verbs.values(), remove),
    );
    this.show(container);
  }

  show(container: Container): void {
    this.container = container;
    const { status } = container;
    this.element.dataset.status = status;
    setText(this.element.querySelector("h2") as HTMLElement, container.name);
    this.badge.className = `badge ${status}`;
    setText(this.badge, status);
    setText(this.facts, facts(container));
    this.progress();
    this.countdown.set(status === "error" ? null : container.expires_at);
    this.renew.hidden = this.countdown.element.hidden || !this.on.renewable(container);
    this.terminal.hidden = !OPENABLE.includes(status);
    for (const { verb, from } of VERBS) (this.verbs.get(verb) as HTMLButtonElement).hidden = !from.includes(status);
  }

  /** What one comes back for. */
  focus(): void {
    this.element.querySelector<HTMLElement>(".actions button:not([hidden])")?.focus();
  }

  /** It is no longer shown. */
  leave(): void {
    this.countdown.stop();
  }

  private progress(): void {
    const { status, progress, stage, message, name } = this.container;
    this.bar.hidden = !MOVING.includes(status);
    this.bar.setAttribute("aria-label", `${name}: ${status}`);
    const creating = status === "creating";
    if (creating) this.bar.value = progress ?? 0;
    else this.bar.removeAttribute("value");
    setText(this.note, creating ? `${message || stage || ""} · ${progress ?? 0} %` : why(this.container));
    this.note.hidden = this.note.textContent === "";
  }

  private async act(verb: Verb): Promise<void> {
    const button = verb === "renew" ? this.renew : (this.verbs.get(verb) as HTMLButtonElement);
    const label = button.textContent;
    button.disabled = true;
    setText(button, VERBS.find((known) => known.verb === verb)?.busy ?? "Renewing…");
    await this.on.attempt(() => api.act(this.container.id, verb));
    button.disabled = false;
    setText(button, label);
  }

  private async remove(): Promise<void> {
    const { id, name } = this.container;
    if (await confirmed(`Delete ${name}?`, "Everything in it is lost. This cannot be undone.", "Delete")) {
      await this.on.attempt(() => api.remove(id));
    }
  }
}

function facts({ image, custom_image, role, resources, enforced }: Container): string {
  const disk = `${megabytes(resources.disk_mb)} disk${enforced?.disk === false ? " (not enforced here)" : ""}`;
  const all = [custom_image ?? image, role, megabytes(resources.memory_mb), cores(resources.cpu_shares), disk];
  return all.filter(Boolean).join(" · ");
}
