import { socketUrl } from "./api";
import { Backoff } from "./backoff";

export interface Message {
  type: string;
  seq?: number;
  timestamp?: string;
  data: Record<string, unknown>;
}

export interface EventsCallbacks {
  message(message: Message): void;
  /** The connection is there again, or what was missed can no longer be replayed: ask for the whole state. */
  refresh(): void;
  connected(up: boolean): void;
  signedOut(): void;
}

/** The user's events, over a socket that comes back by itself and goes on after the last `seq` it saw. */
export class Events {
  private seq = 0;
  private socket: WebSocket | null = null;
  private calledOff: () => void = () => undefined;
  private readonly backoff = new Backoff();

  constructor(private readonly on: EventsCallbacks) {
    window.addEventListener("offline", this.offline);
    this.connect();
  }

  close(): void {
    window.removeEventListener("offline", this.offline);
    this.calledOff();
    this.drop();
  }

  private connect(): void {
    const socket = new WebSocket(socketUrl(this.seq ? `/ws/events?since=${this.seq}` : "/ws/events"), ["rexec.v1"]);
    this.socket = socket;
    socket.onopen = () => {
      if (socket !== this.socket) return;
      this.on.connected(true);
      this.on.refresh();
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      if (socket !== this.socket) return;
      this.backoff.reset();
      const message = JSON.parse(event.data) as Message;
      if (message.seq !== undefined) this.seq = message.type === "reset" ? message.seq : Math.max(this.seq, message.seq);
      if (message.type === "reset") this.on.refresh();
      else this.on.message(message);
    };
    socket.onclose = (event) => {
      if (socket === this.socket) this.cut(event.code);
    };
  }

  private cut(code: number): void {
    this.drop();
    this.on.connected(false);
    if (code === 4401) this.on.signedOut();
    else this.calledOff = this.backoff.again(() => this.connect());
  }

  private drop(): void {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  private readonly offline = (): void => {
    if (this.socket !== null) this.cut(1006);
  };
}
