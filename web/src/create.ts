import { api, ApiError, type Container, type ImageEntry, type Profile, type Range, type RoleEntry, type SizeName } from "./api";
import { field, h, type Control, type Field } from "./dom";
import { Complaints } from "./form";
import { NAME_RULE, nameable, size } from "./words";

const SIZES: [name: SizeName, label: string][] = [
  ["memory_mb", "Memory, MB"],
  ["cpu_shares", "CPU, 1/1000 core"],
  ["disk_mb", "Disk, MB"],
];
const SHELL_OPTIONS: [name: string, label: string, initially: boolean][] = [
  ["autosuggestions", "Suggestions from history while typing", true],
  ["syntax_highlight", "Syntax highlighting", true],
  ["history_search", "History search with the arrow keys", true],
  ["git_aliases", "Git aliases", true],
  ["system_stats", "System statistics at login", false],
  ["use_tmux", "tmux", false],
];

export interface CreateCallbacks {
  created(container: Container): void;
  signedOut(): void;
}

/** The dialog for a new container. */
export function createDialog(profile: Profile, images: ImageEntry[], roles: RoleEntry[], on: CreateCallbacks): HTMLDialogElement {
  const image = field("Image", h("select", { name: "image" }, ...images.map(imageOption)));
  image.control.value = (images.find(({ present }) => present) ?? images[0])?.name ?? "";
  const custom = field(
    "Image reference",
    h("input", { name: "custom_image", placeholder: "ghcr.io/owner/image:tag", autocapitalize: "none", spellcheck: "false" }),
    "Any image of a public registry. Its entry point is not run: you get a machine, not a service.",
  );
  const name = field(
    "Name",
    h("input", { name: "name", placeholder: "chosen for you", autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: 64 }),
  );
  const role = field("Role", h("select", { name: "role" }, option("", "none"), ...roles.map((entry) => option(entry.name, roleLabel(entry)))));
  const sizes = SIZES.map(([key, label]) => sizeField(profile, key, label));
  const shell = new ShellFields();
  const named = (fields: Field[]) => Object.fromEntries(fields.map((each) => [each.control.name, each]));
  const complaints = new Complaints(named([image, custom, name, role, ...sizes]));
  const submit = h("button", { class: "primary", type: "submit" }, "Create");

  const wanted = () => {
    const body: Record<string, unknown> = { image: image.control.value };
    if (!custom.element.hidden) body.custom_image = custom.control.value.trim();
    for (const { control } of [name, role]) if (control.value.trim() !== "") body[control.name] = control.value.trim();
    for (const { control } of sizes) if (control.value !== "") body[control.name] = Number(control.value);
    body.shell = shell.wanted();
    return body;
  };
  const follow = () => {
    custom.element.hidden = image.control.value !== "custom";
    shell.suggest(custom.element.hidden && role.control.value !== "barebone");
  };
  image.control.addEventListener("change", follow);
  role.control.addEventListener("change", follow);

  let key = freshKey();
  const create = async (event: Event) => {
    event.preventDefault();
    complaints.clear();
    if (!nameable(name.control.value.trim())) name.complain(NAME_RULE);
    for (const each of sizes) each.complain(outside(each.control, profile.limits[each.control.name as SizeName]));
    const wrong = dialog.querySelector<HTMLElement>("[aria-invalid]");
    if (wrong !== null) return wrong.focus();
    submit.disabled = true;
    try {
      on.created(await api.create(wanted(), key));
      dialog.close();
    } catch (error) {
      // Without an answer it may have been made: the same key finds it again.
      if (error instanceof ApiError && error.status !== 0) key = freshKey();
      if (error instanceof ApiError && error.status === 401) on.signedOut();
      else complaints.tell(error);
    } finally {
      submit.disabled = false;
    }
  };
  const dialog = h(
    "dialog",
    { class: "create", "aria-labelledby": "create-title", onclose: () => dialog.remove() },
    h(
      "form",
      { novalidate: true, onsubmit: (event) => void create(event) },
      h("h2", { id: "create-title" }, "New container"),
      image.element,
      custom.element,
      h("div", { class: "pair" }, name.element, role.element),
      h("div", { class: "sizes" }, ...sizes.map(({ element }) => element)),
      shell.element,
      complaints.element,
      h("div", { class: "actions" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), submit),
    ),
  );
  follow();
  return dialog;
}

/** The shell's options; `enhanced` is left to the server's default until it is touched. */
class ShellFields {
  private readonly enhanced = h("input", { type: "checkbox", name: "enhanced", checked: true });
  private readonly theme = field("Theme", h("select", { name: "theme" }, option("rexec"), option("minimal"), option("powerlevel10k")));
  private readonly options = SHELL_OPTIONS.map(([key, label, on]) => {
    const box = h("input", { type: "checkbox", name: key, checked: on });
    return { key, box, row: h("label", { class: "check" }, box, label) };
  });
  private readonly more = h("fieldset", {}, h("legend", { class: "unseen" }, "Shell options"), this.theme.element, ...this.options.map(({ row }) => row));
  private touched = false;
  readonly element = h(
    "details",
    {},
    h("summary", {}, "Shell"),
    h("label", { class: "check" }, this.enhanced, "Enhanced shell (zsh); else the image's own"),
    this.more,
  );

  constructor() {
    this.enhanced.addEventListener("change", () => {
      this.touched = true;
      this.more.disabled = !this.enhanced.checked;
    });
  }

  suggest(enhanced: boolean): void {
    if (!this.touched) this.enhanced.checked = enhanced;
    this.more.disabled = !this.enhanced.checked;
  }

  wanted(): Record<string, unknown> {
    const chosen = Object.fromEntries(this.options.map(({ key, box }) => [key, box.checked]));
    const enhanced = this.touched ? { enhanced: this.enhanced.checked } : {};
    return { ...enhanced, theme: this.theme.control.value, ...chosen };
  }
}

function option(value: string, label = value): HTMLOptionElement {
  return h("option", { value }, label);
}

function imageOption(entry: ImageEntry): HTMLOptionElement {
  return h("option", { value: entry.name, disabled: !entry.available }, imageLabel(entry));
}

function imageLabel({ name, category, description, present, available }: ImageEntry): string {
  if (category === "custom") return "Custom image…";
  const hint = !available ? " (not on this host)" : present === false && " (is fetched first)";
  return [name, description !== "" && ` – ${description}`, hint].filter(Boolean).join("");
}

function roleLabel({ name, description }: RoleEntry): string {
  return description ? `${name} – ${description}` : name;
}

/** What the server would say, told before it is asked. */
function outside({ value, validity }: Control, { min, max }: Range): string {
  const number = Number(value);
  if (validity.badInput || !Number.isInteger(number)) return "A whole number, please.";
  if (value === "" || (number >= min && number <= max)) return "";
  return min >= max ? `It is ${max} for you.` : `Must be between ${min} and ${max}.`;
}

function sizeField(profile: Profile, name: SizeName, label: string): Field {
  const range = profile.limits[name];
  const input = h("input", { type: "number", name, min: range.min, max: range.max, placeholder: range.default, inputmode: "numeric" });
  const bounds = range.min >= range.max ? `${range.max}` : `${range.min} to ${range.max}`;
  return field(label, input, `${bounds}, default ${range.default} (${size(name, range.default)})`);
}

/** `randomUUID` is for pages over https only. */
function freshKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
