import { api, ApiError, type Container } from "./api";
import { Countdown } from "./clock";
import { h, setText } from "./dom";
import { Terminal } from "./terminal";
import { ENDED, explain, sentence, why } from "./words";

const KEYS: [label: string, keys: string, spoken: string][] = [
  ["Esc", "\x1b", "Escape"],
  ["Tab", "\t", "Tab"],
  ["^C", "\x03", "Control C"],
  ["^D", "\x04", "Control D"],
  ["↑", "\x1b[A", "Up"],
  ["↓", "\x1b[B", "Down"],
  ["←", "\x1b[D", "Left"],
  ["→", "\x1b[C", "Right"],
];
const ENDS: Record<string, string> = {
  exited: "The shell ended",
  signaled: "The shell was killed",
  closed: "Somebody closed this terminal",
  out_of_memory: "The shell ran out of memory",
};
const READER = "screen-reader";

/** One container's terminal with what surrounds it. */
export class ShellView {
  readonly element: HTMLElement;
  private readonly state = h("span", { class: "state", role: "status" }, "connecting…");
  private readonly end = h("div", { class: "end", role: "alert", hidden: true });
  private readonly countdown = new Countdown();
  private readonly place = h("div", { class: "screen" });
  private terminal: Terminal | null = null;

  constructor(
    private readonly container: Container,
    private readonly on: { back(): void; signedOut(reason: string): void },
  ) {
    this.countdown.set(container.expires_at);
    const reader = h("input", { type: "checkbox", checked: readerWanted(), onchange: () => this.read(reader.checked) });
    this.element = h(
      "main",
      { class: "terminal" },
      h(
        "header",
        {},
        h("button", { onclick: () => on.back() }, "← Containers"),
        h("h1", {}, container.name),
        this.countdown.element,
        this.state,
        h("label", { class: "check reader" }, reader, "Screen reader"),
      ),
      this.end,
      this.place,
      h("div", { class: "keys", role: "toolbar", "aria-label": "Keys" }, ...this.keys()),
    );
  }

  /** Once the element is in the page, where it has a size. */
  open(): void {
    this.terminal = new Terminal(this.container.id, "main", this.place, {
      state: (text) => setText(this.state, text),
      exited: (code, reason) => void this.exited(code, reason),
      refused: (status, reason) => void this.refused(status, reason),
      signedOut: () => this.on.signedOut(ENDED),
    });
    this.read(readerWanted());
  }

  close(): void {
    this.countdown.stop();
    this.terminal?.close();
  }

  private keys(): HTMLElement[] {
    return KEYS.map(([label, keys, spoken]) =>
      h("button", { class: "small", "aria-label": spoken, onclick: () => this.terminal?.type(keys) }, label),
    );
  }

  private read(wanted: boolean): void {
    localStorage.setItem(READER, wanted ? "yes" : "no");
    if (this.terminal) this.terminal.xterm.options.screenReaderMode = wanted;
  }

  /** A shell that ends with its container is not what a person wants to hear of. */
  private async exited(code: number, reason: string): Promise<void> {
    const text = ENDS[reason];
    const row = await this.settled().catch(() => null);
    if (text === undefined || row?.status !== "running") return this.refused(409, reason);
    this.tell(`${text}${reason === "exited" ? ` with code ${code}` : ""}.`, "New shell", async () => undefined);
  }

  /** Says why, and offers what helps. */
  private async refused(status: number, reason: string): Promise<void> {
    const now = await this.settled().catch((error: unknown) => error);
    if (now instanceof ApiError && now.status === 401) this.on.signedOut(ENDED);
    else if (now instanceof ApiError && now.status === 404) this.tell("This container was deleted.");
    else if (now instanceof Error || status !== 409) this.tell(sentence(reason || "The terminal was refused"));
    else {
      const { id, status: is } = this.container;
      const row = now as Container;
      const text = [`The container is ${row.status}`, why(row)].filter(Boolean).join(": ");
      if (row.status === "running" || is === "creating") this.tell(sentence(reason || text), "Connect again", async () => undefined);
      else this.tell(sentence(text), "Start the container", () => api.act(id, "start"));
    }
  }

  /** A stop that is under way is waited for. */
  private async settled(): Promise<Container> {
    const { id } = this.container;
    const row = await api.container(id);
    if (row.status !== "stopping") return row;
    await api.act(id, "stop");
    return api.container(id);
  }

  private tell(text: string, label = "", first: () => Promise<unknown> = async () => undefined): void {
    setText(this.state, "");
    const again = h("button", { class: "primary", onclick: () => void this.again(again, first) }, label);
    this.end.replaceChildren(h("span", {}, text), ...(label === "" ? [] : [again]));
    this.end.hidden = false;
    if (label !== "") again.focus();
  }

  private async again(button: HTMLButtonElement, first: () => Promise<unknown>): Promise<void> {
    button.disabled = true;
    try {
      await first();
      this.end.hidden = true;
      this.terminal?.again();
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.on.signedOut(ENDED);
      else setText(this.state, explain(error));
      button.disabled = false;
    }
  }
}

function readerWanted(): boolean {
  return localStorage.getItem(READER) === "yes";
}
