import { FitAddon } from "@xterm/addon-fit";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { WebglAddon } from "@xterm/addon-webgl";
import { Terminal as Xterm } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { socketUrl } from "./api";
import { Backoff } from "./backoff";
import { cut } from "./words";

const ACK_EVERY = 64 * 1024;
const INPUT_FRAME = 32 * 1024;
const PING_EVERY = 15_000;
/** Silence after a ping that means a connection that nobody told us is cut. */
const SILENCE = 40_000;
/** What an emulator answers when a program asks it something. */
const ANSWER = /^\x1b(\[[?>=]?[\d;]*(\$y|[cnRtu])|[\]P])/;

type Control =
  | { type: "ready"; terminal: string; epoch: string; offset: number; live: number }
  | { type: "restore"; length: number }
  | { type: "lagged"; from: number; to: number }
  | { type: "exit"; code: number; reason: string }
  | { type: "container_status"; data: string; message: string; progress: number }
  | { type: "error"; error: string; code: string }
  | { type: "resized" | "pong" | "stats" };

export interface TerminalCallbacks {
  /** What the person waits for; empty when the shell listens. */
  state(text: string): void;
  /** The shell ended. */
  exited(code: number, reason: string): void;
  /** No terminal can be had: `status` as over HTTP. */
  refused(status: number, reason: string): void;
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
  private readonly fit = new FitAddon();
  private readonly encoder = new TextEncoder();
  private readonly backoff = new Backoff();
  private readonly observer: ResizeObserver;
  private readonly pings: ReturnType<typeof setInterval>;
  private calledOff: () => void = () => undefined;
  private socket: WebSocket | null = null;
  private epoch: string | null = null;
  private offset = 0;
  private acked = 0;
  private uncounted = 0;
  /** Output before this offset is older than the attachment: who asked in it is no longer waiting. */
  private live = 0;
  private drawingOld = false;
  private heard = 0;
  private done = false;

  constructor(
    private readonly container: string,
    private readonly name: string,
    place: HTMLElement,
    private readonly on: TerminalCallbacks,
  ) {
    this.xterm.loadAddon(this.fit);
    this.xterm.loadAddon(new Unicode11Addon());
    this.xterm.loadAddon(new WebLinksAddon());
    this.xterm.unicode.activeVersion = "11";
    this.xterm.open(place);
    this.drawFast();
    this.fit.fit();
    this.observer = new ResizeObserver(() => this.fit.fit());
    this.observer.observe(place);
    this.xterm.onData((text) => {
      if (!this.drawingOld || !ANSWER.test(text)) this.sendBytes(this.encoder.encode(text));
    });
    this.xterm.onBinary((text) => this.sendBytes(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    this.xterm.onResize(({ cols, rows }) => this.send({ type: "resize", cols, rows }));
    this.pings = setInterval(() => this.ping(), PING_EVERY);
    window.addEventListener("offline", this.offline);
    this.connect();
    this.xterm.focus();
  }

  /** As if typed. */
  type(text: string): void {
    this.xterm.input(text);
    this.xterm.focus();
  }

  /** Attach anew, after an end: who asks for a shell that ended is told of its end again. */
  again(): void {
    this.done = false;
    this.epoch = null;
    this.xterm.reset();
    this.connect();
    this.xterm.focus();
  }

  close(): void {
    this.done = true;
    clearInterval(this.pings);
    window.removeEventListener("offline", this.offline);
    this.calledOff();
    this.observer.disconnect();
    this.socket?.close();
    this.xterm.dispose();
  }

  private drawFast(): void {
    try {
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => webgl.dispose());
      this.xterm.loadAddon(webgl);
    } catch {
      // No WebGL here: xterm draws with the DOM.
    }
  }

  private connect(): void {
    const query = new URLSearchParams({ id: this.name, cols: String(this.xterm.cols), rows: String(this.xterm.rows) });
    if (this.epoch !== null) {
      query.set("epoch", this.epoch);
      query.set("since", String(this.offset));
    }
    this.on.state(this.epoch === null ? "connecting…" : cut());
    const socket = new WebSocket(socketUrl(`/ws/terminal/${encodeURIComponent(this.container)}?${query}`), ["rexec.v2"]);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => (this.heard = Date.now());
    socket.onmessage = (event: MessageEvent<ArrayBuffer | string>) => {
      if (socket !== this.socket) return;
      this.heard = Date.now();
      if (typeof event.data === "string") this.control(JSON.parse(event.data) as Control);
      else this.output(new Uint8Array(event.data));
    };
    socket.onclose = (event) => socket === this.socket && this.closed(event.code, event.reason);
  }

  private ping(): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (Date.now() - this.heard > SILENCE) this.cut(this.socket);
    else this.send({ type: "ping" });
  }

  /** A server on this very machine is back at once; of any other nobody would tell us for a minute. */
  private readonly offline = (): void => {
    if (this.socket !== null) this.cut(this.socket);
  };

  private cut(socket: WebSocket): void {
    this.socket = null;
    socket.close();
    this.closed(1006, "");
  }

  private output(bytes: Uint8Array): void {
    const old = this.live - this.offset + this.uncounted;
    if (this.offset < this.live && bytes.length > old) {
      this.output(bytes.subarray(0, old));
      bytes = bytes.subarray(old);
    }
    const skipped = Math.min(this.uncounted, bytes.length);
    this.uncounted -= skipped;
    this.offset += bytes.length - skipped;
    const reached = this.offset;
    const socket = this.socket;
    this.xterm.write(bytes, () => {
      if (socket === this.socket && reached >= this.live) this.drawingOld = false;
      if (socket !== this.socket || reached <= this.acked) return;
      if (reached - this.acked >= ACK_EVERY || reached === this.offset) {
        this.acked = reached;
        this.send({ type: "ack", offset: reached });
      }
    });
  }

  private control(message: Control): void {
    switch (message.type) {
      case "ready":
        this.live = message.live;
        this.drawingOld = message.offset < message.live;
        this.attached(message.epoch, message.offset);
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
        this.done = true;
        this.on.exited(message.code, message.reason);
        break;
      case "container_status":
        this.on.state(message.data === "creating" ? `${message.message} · ${message.progress} %` : message.message || `${message.data}…`);
        break;
      case "error":
        this.on.state(message.error);
        break;
    }
  }

  private attached(epoch: string, offset: number): void {
    if (this.epoch !== epoch || this.offset !== offset) this.xterm.reset();
    this.epoch = epoch;
    this.offset = this.acked = offset;
    this.uncounted = 0;
    this.backoff.reset();
    this.on.state("");
  }

  private closed(code: number, reason: string): void {
    if (this.done) return;
    if (code === 4401) {
      this.done = true;
      this.on.signedOut();
    } else if (code >= 4400 && code < 4500 && code !== 4408 && code !== 4429) {
      this.done = true;
      this.on.refused(code - 4000, reason);
    } else {
      this.on.state(code === 4429 ? `${reason}: trying again…` : cut());
      this.calledOff = this.backoff.again(() => this.connect());
    }
  }

  private sendBytes(bytes: Uint8Array): void {
    for (let start = 0; start < bytes.length; start += INPUT_FRAME) {
      if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(bytes.slice(start, start + INPUT_FRAME));
    }
  }

  private send(message: object): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}
