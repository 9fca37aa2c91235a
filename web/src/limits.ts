import type { Container, Profile, SizeName } from "./api";
import { h, setText } from "./dom";
import { cores, duration, megabytes, size } from "./words";

const SIZES: [name: SizeName, label: string][] = [
  ["memory_mb", "Memory per container"],
  ["cpu_shares", "CPU per container"],
  ["disk_mb", "Disk per container"],
];

/** What the account may use, and what of it is given out. */
export class Limits {
  readonly element: HTMLElement;
  private readonly used = h("dd");

  constructor({ user, limits }: Profile) {
    const entry = (what: string, value: string) => h("div", {}, h("dt", {}, what), h("dd", {}, value));
    const counted = (value: number | null) => (value === null ? "no limit" : String(value));
    const sizes = SIZES.map(([name, label]) => {
      const { max, default: usual } = limits[name];
      return entry(label, `at most ${size(name, max)}${usual < max ? `, default ${size(name, usual)}` : ""}`);
    });
    this.element = h(
      "details",
      { class: "limits" },
      h("summary", {}, "Limits and usage"),
      h(
        "dl",
        {},
        entry("Tier", user.tier),
        entry("Containers", counted(limits.containers)),
        h("div", {}, h("dt", {}, "Given out now"), this.used),
        ...sizes,
        entry("Session of a container", limits.session_seconds === null ? "no end" : duration(limits.session_seconds)),
        entry("New containers a minute", counted(limits.creates_per_minute)),
        entry("Requests a minute", counted(limits.requests_per_minute)),
        entry("Terminals per container", counted(limits.terminals)),
      ),
    );
  }

  use(containers: Container[]): void {
    const sum = (name: SizeName) => containers.reduce((all, { resources }) => all + resources[name], 0);
    setText(this.used, `${megabytes(sum("memory_mb"))} memory, ${cores(sum("cpu_shares"))}, ${megabytes(sum("disk_mb"))} disk`);
  }
}
