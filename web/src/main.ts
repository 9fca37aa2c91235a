import { api, ApiError, type Container, type Profile } from "./api";
import { ContainersView } from "./containers";
import { h } from "./dom";
import { signIn } from "./signin";
import "./style.css";
import type { Terminal } from "./terminal";

const ENDED = "Your session has ended. Sign in again.";
const app = document.getElementById("app") as HTMLElement;
let leave: () => void = () => undefined;

function show(element: HTMLElement, onLeave: () => void = () => undefined): void {
  leave();
  leave = onLeave;
  app.replaceChildren(element);
}

function showSignIn(reason = ""): void {
  show(signIn(reason, () => void start()));
}

function showContainers(profile: Profile): void {
  const view = new ContainersView(profile, {
    open: (container) => {
      location.hash = `#/containers/${container.id}`;
    },
    signedOut: (reason) => {
      if (reason === "") sessionStorage.removeItem("signed-in");
      showSignIn(reason);
    },
  });
  show(view.element, () => view.close());
}

async function showTerminal(id: string, name: string): Promise<void> {
  const state = h("span", { class: "state", role: "status" });
  const place = h("div", { class: "screen" });
  const back = h("button", { onclick: () => (location.hash = "") }, "← Containers");
  const element = h("main", { class: "terminal" }, h("header", {}, back, h("strong", {}, name), state), place);
  let terminal: Terminal | null = null;
  let left = false;
  show(element, () => {
    left = true;
    terminal?.close();
  });
  const { Terminal } = await import("./terminal");
  if (left) return;
  terminal = new Terminal(id, "main", place, {
    state: (text) => (state.textContent = text),
    ended: (text) => (state.textContent = text),
    signedOut: () => showSignIn(ENDED),
  });
}

async function start(): Promise<void> {
  try {
    const profile = await api.profile();
    sessionStorage.setItem("signed-in", "yes");
    const id = /^#\/containers\/([\w-]+)$/.exec(location.hash)?.[1];
    if (id === undefined) showContainers(profile);
    else await showTerminal(id, await nameOf(id));
  } catch (error) {
    const unknown = error instanceof ApiError && error.status === 401;
    const ended = sessionStorage.getItem("signed-in") !== null;
    showSignIn(unknown ? (ended ? ENDED : "") : (error as Error).message);
  }
}

async function nameOf(id: string): Promise<string> {
  const { containers } = await api.containers();
  return containers.find((container: Container) => container.id === id)?.name ?? id;
}

window.addEventListener("hashchange", () => void start());
void start();
