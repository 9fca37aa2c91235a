import { h, setText } from "./dom";
import { duration, secondsUntil } from "./words";

const SOON = 10 * 60;
const shown = new Set<Countdown>();
let timer: ReturnType<typeof setInterval> | undefined;

/** `ends in 4 min`, kept right while it is in the page. */
export class Countdown {
  readonly element = h("time", { class: "countdown" });
  private time: string | null = null;

  constructor(private readonly prefix = "ends in ") {}

  set(time: string | null | undefined): void {
    this.time = time ?? null;
    this.element.hidden = this.time === null;
    if (this.time === null) shown.delete(this);
    else shown.add(this);
    this.draw();
    timer ??= setInterval(tick, 1000);
  }

  draw(): void {
    if (this.time === null) return;
    const left = secondsUntil(this.time);
    setText(this.element, left > 0 ? this.prefix + duration(left) : "ends now");
    this.element.classList.toggle("soon", left < SOON);
    this.element.dateTime = this.time;
    this.element.title = new Date(this.time).toLocaleString();
  }

  stop(): void {
    shown.delete(this);
    if (shown.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  }
}

function tick(): void {
  for (const countdown of shown) countdown.draw();
}
