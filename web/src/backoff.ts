/** Doubling delays from 0.25 s to 8 s with jitter; `reset` after a success. */
export class Backoff {
  private delay = 250;

  next(): number {
    const now = this.delay;
    this.delay = Math.min(8000, this.delay * 2);
    return now * (0.75 + Math.random() / 2);
  }

  reset(): void {
    this.delay = 250;
  }
}
