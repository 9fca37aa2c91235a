import { api, ApiError } from "./api";
import { confirmed } from "./confirm";
import { ContainersView } from "./containers";
import { h } from "./dom";
import { signIn } from "./signin";
import "./style.css";
import { ENDED, explain } from "./words";

const app = document.getElementById("app") as HTMLElement;
const SIGNED_IN = "signed-in";
let leave: () => void = () => undefined;
let turn = 0;
let guestToken: string | undefined;
/** The container whose terminal is shown. */
let inside: string | undefined;

function show(title: string, element: HTMLElement, onLeave: () => void = () => undefined): void {
  leave();
  leave = onLeave;
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  document.title = title === "" ? "Rexec" : `${title} · Rexec`;
  app.replaceChildren(element);
}

function showSignIn(reason = ""): void {
  turn++;
  localStorage.removeItem(SIGNED_IN);
  const signedIn = (token?: string) => {
    guestToken = token;
    localStorage.setItem(SIGNED_IN, "yes");
    void start();
  };
  show("", signIn(reason, { signedIn }));
  app.querySelector("input")?.focus();
}

/** Who never signed in here has no cookie to ask with, and lost no session. */
async function start(): Promise<void> {
  if (localStorage.getItem(SIGNED_IN) === null) return showSignIn();
  const mine = ++turn;
  try {
    const profile = await api.profile();
    if (mine !== turn) return;
    const id = /^#\/containers\/([\w-]+)$/.exec(location.hash)?.[1];
    if (id !== undefined) return await showShell(id, mine);
    const view = new ContainersView(
      profile,
      {
        open: (container) => (location.hash = `#/containers/${container.id}`),
        signOut: () => void signOut(profile.user.guest),
        signedOut: showSignIn,
      },
      welcome(),
      inside,
    );
    inside = undefined;
    show("", view.element, () => view.close());
  } catch (error) {
    if (mine === turn) failed(error);
  }
}

async function showShell(id: string, mine: number): Promise<void> {
  const [container, { ShellView }] = await Promise.all([api.container(id), import("./shell")]);
  if (mine !== turn) return;
  const view = new ShellView(container, { back: () => (location.hash = ""), signedOut: showSignIn });
  inside = id;
  show(container.name, view.element, () => view.close());
  view.open();
}

function failed(error: unknown): void {
  const status = error instanceof ApiError ? error.status : -1;
  if (status === 404) location.hash = "";
  else if (status === 401) showSignIn(ENDED);
  else if (status === 403) showSignIn(explain(error));
  else {
    const again = h("button", { class: "primary", onclick: () => void start() }, "Try again");
    show("", h("main", { class: "signin" }, h("p", { class: "notice", role: "alert" }, explain(error)), again));
  }
}

async function signOut(guest: boolean): Promise<void> {
  const text = "A guest comes back with its token only. Without it, the account and its container are out of reach.";
  if (guest && !(await confirmed("Sign out?", text, "Sign out"))) return;
  await api.signOut().catch(() => undefined);
  guestToken = undefined;
  location.hash = "";
  showSignIn();
}

/** A new guest's token, told once. */
function welcome(): HTMLElement | null {
  if (guestToken === undefined) return null;
  const token = guestToken;
  const dismiss = () => {
    guestToken = undefined;
    element.remove();
  };
  const shown = h("input", { readonly: true, value: token, "aria-label": "Your token" });
  const copy = h("button", { onclick: () => void copied(shown).then((done) => done && (copy.textContent = "Copied")) }, "Copy");
  const element = h(
    "section",
    { class: "notice welcome", "aria-label": "Your token" },
    h("p", {}, "Welcome. This token is the only way back in from elsewhere, or after you sign out. It is shown once."),
    h("div", { class: "copy" }, shown, copy, h("button", { onclick: dismiss }, "Done")),
  );
  return element;
}

/** Over plain http browsers have no clipboard for pages: then it is selected. */
async function copied(input: HTMLInputElement): Promise<boolean> {
  input.select();
  return navigator.clipboard === undefined ? false : navigator.clipboard.writeText(input.value).then(() => true, () => false);
}

window.addEventListener("hashchange", () => void start());
void start();
