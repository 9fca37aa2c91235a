import { ApiError } from "./api";
import type { Field } from "./dom";
import { h, setText } from "./dom";
import { explain, sentence } from "./words";

/** Where a form's errors go: next to the field they are about, else above its buttons. */
export class Complaints {
  readonly element = h("p", { class: "error", role: "alert" });

  /** `fields` by the names the server uses for them. */
  constructor(private readonly fields: Record<string, Field>) {}

  clear(): void {
    setText(this.element, "");
    for (const field of Object.values(this.fields)) field.complain("");
  }

  /** Tells it, and puts the focus where it can be mended. */
  tell(error: unknown): void {
    const rest: string[] = [];
    let first: Field | undefined;
    for (const { name, message } of complaints(error)) {
      const field = this.fields[name];
      if (field === undefined || field.element.hidden) rest.push(message);
      else {
        field.complain(message);
        first ??= field;
      }
    }
    setText(this.element, rest.join(" "));
    first?.control.focus();
  }
}

function complaints(error: unknown): { name: string; message: string }[] {
  if (error instanceof ApiError) {
    if (error.details.length > 0) {
      return error.details.map(({ field, message }) => ({ name: field, message: sentence(message) }));
    }
    const name = ABOUT[error.code];
    if (name !== undefined) return [{ name, message: explain(error) }];
    if (error.status === 401) return [{ name: "token", message: explain(error) }];
  }
  return [{ name: "", message: explain(error) }];
}

/** Refusals without details that are still about one field. */
const ABOUT: Record<string, string> = {
  name_taken: "name",
  unsupported_image: "image",
  tier_required: "image",
  macos_unavailable: "image",
  unsupported_role: "role",
  guests_disabled: "username",
};
