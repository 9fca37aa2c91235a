import { api } from "./api";
import { field, h, type Field } from "./dom";
import { Complaints } from "./form";

export interface SignInCallbacks {
  /** The cookie is there; a new guest's token is the only way back in. */
  signedIn(guestToken?: string): void;
}

/** Sign in with a token, or as a guest. */
export function signIn(reason: string, on: SignInCallbacks): HTMLElement {
  const token = field(
    "Token",
    h("input", { type: "password", name: "token", autocomplete: "current-password", placeholder: "rexec_…" }),
    "An API token, a guest's token, or the admin token that the first start printed.",
  );
  const username = field(
    "Guest name",
    h("input", { name: "username", autocomplete: "username", maxlength: 30, placeholder: "your-name" }),
    "One small machine for up to 50 hours. No account needed.",
  );
  return h(
    "main",
    { class: "signin" },
    h("h1", {}, h("img", { src: "/icon.svg", alt: "", width: 40, height: 40 }), "Rexec"),
    h("p", { class: "lead" }, "Sandboxed Linux machines on demand."),
    reason !== "" && h("p", { class: "notice", role: "alert" }, reason),
    form({ token }, "Sign in", "primary", async () => {
      await api.signIn(given(token, "Paste a token first."));
      on.signedIn();
    }),
    form({ username }, "Try as a guest", "", async () => {
      const guest = await api.guest(given(username, "Choose a name first."));
      await api.signIn(guest.token);
      on.signedIn(guest.token);
    }),
  );
}

function given({ control }: Field, otherwise: string): string {
  const text = control.value.trim();
  if (text === "") throw new Missing(otherwise);
  return text;
}

class Missing extends Error {}

function form(fields: Record<string, Field>, label: string, kind: string, work: () => Promise<void>): HTMLElement {
  const complaints = new Complaints(fields);
  const button = h("button", { class: kind, type: "submit" }, label);
  const submit = async (event: Event) => {
    event.preventDefault();
    complaints.clear();
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      const only = Object.values(fields)[0];
      if (error instanceof Missing && only !== undefined) only.complain(error.message);
      else complaints.tell(error);
    } finally {
      button.disabled = false;
    }
  };
  const elements = Object.values(fields).map(({ element }) => element);
  return h("form", { class: "card", novalidate: true, onsubmit: (event) => void submit(event) }, ...elements, complaints.element, button);
}
