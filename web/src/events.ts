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
  private closed = false;
  private calledOff: () => void = () => undefined;
  private readonly backoff = new Backoff();

  constructor(private readonly on: EventsCallbacks) {
    this.connect();
  }

  close(): void {
    this.closed = true;
    this.calledOff();
    this.socket?.close();
  }

  private connect(): void {
    const socket = new WebSocket(socketUrl(this.seq ? `/ws/events?since=${this.seq}` : "/ws/events"), ["rexec.v1"]);
    this.socket = socket;
    socket.onopen = () => {
      this.on.connected(true);
      this.on.refresh();
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      this.backoff.reset();
      const message = JSON.parse(event.data) as Message;
      if (message.seq !== undefined) this.seq = message.type === "reset" ? message.seq : Math.max(this.seq, message.seq);
      if (message.type === "reset") this.on.refresh();
      else this.on.message(message);
    };
    socket.onclose = (event) => {
      if (this.closed) return;
      this.on.connected(false);
      if (event.code === 4401) this.on.signedOut();
      else this.calledOff = this.backoff.again(() => this.connect());
    };
  }
}
