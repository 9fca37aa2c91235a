import { api } from "./api";
import { field, h } from "./dom";

/** Sign in with a token, or as a guest. Calls `done` once the cookie is there. */
export function signIn(reason: string, done: () => void): HTMLElement {
  const trouble = h("p", { class: "trouble", role: "alert" }, reason);
  const token = h("input", { type: "password", name: "token", autocomplete: "current-password", placeholder: "rexec_…", required: true });
  const username = h("input", { name: "username", autocomplete: "username", pattern: "[A-Za-z0-9_\\-]{2,30}", placeholder: "your-name", required: true });

  const attempt = (work: () => Promise<unknown>) => async (event: Event) => {
    event.preventDefault();
    trouble.textContent = "";
    try {
      await work();
      done();
    } catch (error) {
      trouble.textContent = (error as Error).message;
    }
  };

  return h(
    "main",
    { class: "signin" },
    h("h1", {}, h("img", { src: "/icon.svg", alt: "", width: 40 }), "Rexec"),
    h("p", { class: "lead" }, "Sandboxed Linux machines on demand."),
    trouble,
    h(
      "form",
      { class: "card", onsubmit: attempt(() => api.signIn(token.value.trim())) },
      field("Token", token, "An API token, or the admin token that the first start printed."),
      h("button", { class: "primary", type: "submit" }, "Sign in"),
    ),
    h(
      "form",
      { class: "card", onsubmit: attempt(async () => api.signIn((await api.guest(username.value.trim())).token)) },
      field("Guest name", username, "One small machine, for up to 50 hours, no account needed."),
      h("button", { type: "submit" }, "Try as a guest"),
    ),
  );
}
