import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { WebglAddon } from "@xterm/addon-webgl";
import { Terminal as Xterm } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { socketUrl } from "./api";
import { Backoff } from "./backoff";

const ACK_EVERY = 64 * 1024;

type Control =
  | { type: "ready"; terminal: string; epoch: string; offset: number }
  | { type: "restore"; length: number }
  | { type: "lagged"; from: number; to: number }
  | { type: "exit"; code: number; reason: string }
  | { type: "waiting" | "container_status"; message?: string; data?: string }
  | { type: "resized" | "pong" | "error"; message?: string; error?: string };

export interface TerminalCallbacks {
  state(text: string): void;
  /** The shell ended or can't be had; no more attempts are made. */
  ended(text: string): void;
  signedOut(): void;
}

/** One attachment to a container's terminal over `rexec.v2`: resumes at the byte where it was cut. */
export class Terminal {
  readonly xterm = new Xterm({
    allowProposedApi: true,
    cursorBlink: true,
    fontFamily: '"JetBrains Mono", "Cascadia Code", "DejaVu Sans Mono", Menlo, Consolas, monospace',
    fontSize: 14,
    scrollback: 10_000,
    theme: { background: "#0b0e13", foreground: "#e6edf3", cursor: "#5eead4", selectionBackground: "#2f4858" },
  });
  readonly search = new SearchAddon();
  private readonly fit = new FitAddon();
  private readonly encoder = new TextEncoder();
  private readonly backoff = new Backoff();
  private readonly observer: ResizeObserver;
  private socket: WebSocket | null = null;
  private epoch: string | null = null;
  private offset = 0;
  private acked = 0;
  private uncounted = 0;
  private done = false;

  constructor(
    private readonly container: string,
    private readonly name: string,
    place: HTMLElement,
    private readonly on: TerminalCallbacks,
  ) {
    this.xterm.loadAddon(this.fit);
    this.xterm.loadAddon(this.search);
    this.xterm.loadAddon(new Unicode11Addon());
    this.xterm.loadAddon(new WebLinksAddon());
    this.xterm.unicode.activeVersion = "11";
    this.xterm.open(place);
    try {
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => webgl.dispose());
      this.xterm.loadAddon(webgl);
    } catch {
      // No WebGL here: xterm draws with the DOM.
    }
    this.fit.fit();
    this.observer = new ResizeObserver(() => this.fit.fit());
    this.observer.observe(place);
    this.xterm.onData((text) => this.sendBytes(this.encoder.encode(text)));
    this.xterm.onBinary((text) => this.sendBytes(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    this.xterm.onResize(({ cols, rows }) => this.send({ type: "resize", cols, rows }));
    this.connect();
    this.xterm.focus();
  }

  close(): void {
    this.done = true;
    this.observer.disconnect();
    this.socket?.close();
    this.xterm.dispose();
  }

  private connect(): void {
    const query = new URLSearchParams({ id: this.name, cols: String(this.xterm.cols), rows: String(this.xterm.rows) });
    if (this.epoch !== null) {
      query.set("epoch", this.epoch);
      query.set("since", String(this.offset));
    }
    this.on.state("connecting…");
    const socket = new WebSocket(socketUrl(`/ws/terminal/${encodeURIComponent(this.container)}?${query}`), ["rexec.v2"]);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onmessage = (event: MessageEvent<ArrayBuffer | string>) => {
      if (typeof event.data === "string") this.control(JSON.parse(event.data) as Control);
      else this.output(new Uint8Array(event.data));
    };
    socket.onclose = (event) => this.closed(event);
  }

  private output(bytes: Uint8Array): void {
    const skipped = Math.min(this.uncounted, bytes.length);
    this.uncounted -= skipped;
    this.offset += bytes.length - skipped;
    const reached = this.offset;
    this.xterm.write(bytes, () => {
      if (reached - this.acked >= ACK_EVERY || reached === this.offset) {
        this.acked = reached;
        this.send({ type: "ack", offset: reached });
      }
    });
  }

  private control(message: Control): void {
    switch (message.type) {
      case "ready":
        if (this.epoch !== null && this.epoch !== message.epoch) this.xterm.reset();
        this.epoch = message.epoch;
        this.offset = this.acked = message.offset;
        this.uncounted = 0;
        this.backoff.reset();
        this.on.state("");
        break;
      case "restore":
        this.uncounted += message.length;
        break;
      case "lagged":
        this.xterm.reset();
        this.offset = this.acked = message.to;
        this.on.state(`skipped ${message.to - message.from} bytes of output`);
        break;
      case "exit":
        this.finish(`The shell ended (${message.reason}, code ${message.code}).`);
        break;
      case "waiting":
      case "container_status":
        this.on.state(message.message ?? message.data ?? "waiting…");
        break;
      case "error":
        this.on.state(message.message ?? message.error ?? "error");
        break;
    }
  }

  private closed(event: CloseEvent): void {
    if (this.done) return;
    if (event.code === 4401) {
      this.done = true;
      this.on.signedOut();
    } else if (event.code >= 4400 && event.code < 4500 && event.code !== 4429) {
      this.finish(event.reason || "The terminal was refused.");
    } else {
      this.on.state("reconnecting…");
      setTimeout(() => !this.done && this.connect(), this.backoff.next());
    }
  }

  private finish(text: string): void {
    this.done = true;
    this.on.state("");
    this.on.ended(text);
  }

  private sendBytes(bytes: Uint8Array): void {
    for (let start = 0; start < bytes.length; start += 32 * 1024) {
      if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(bytes.slice(start, start + 32 * 1024));
    }
  }

  private send(message: object): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}
