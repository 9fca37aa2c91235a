/** Doubling delays from 0.25 s to 8 s with jitter, cut short when the browser is online again; `reset` after a success. */
export class Backoff {
  private delay = 250;

  /** Returns what calls it off. */
  again(work: () => void): () => void {
    const off = () => {
      clearTimeout(timer);
      window.removeEventListener("online", now);
    };
    const now = () => {
      off();
      work();
    };
    const timer = setTimeout(now, this.delay * (0.75 + Math.random() / 2));
    window.addEventListener("online", now);
    this.delay = Math.min(8000, this.delay * 2);
    return off;
  }

  reset(): void {
    this.delay = 250;
  }
}
