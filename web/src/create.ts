import { api, type Container, type ImageEntry, type Profile, type Range, type RoleEntry } from "./api";
import { field, h } from "./dom";

const SHELL_OPTIONS: [name: string, label: string, initially: boolean][] = [
  ["enhanced", "Enhanced shell (zsh)", true],
  ["autosuggestions", "Autosuggestions", true],
  ["syntax_highlight", "Syntax highlighting", true],
  ["history_search", "History search", true],
  ["git_aliases", "Git aliases", true],
  ["system_stats", "System statistics at login", false],
  ["use_tmux", "tmux", false],
];

function option(value: string, label = value): HTMLOptionElement {
  return h("option", { value }, label);
}

function size(name: string, range: Range, min: number, step: number): HTMLInputElement {
  return h("input", { type: "number", name, min, max: range.max, step, placeholder: range.default });
}

function imageLabel(image: ImageEntry): string {
  if (image.name === "custom") return "Custom image…";
  return image.present === false ? `${image.name} (is fetched first)` : image.name;
}

/** The dialog for a new container; `created` gets the 202's answer. */
export function createDialog(
  profile: Profile,
  images: ImageEntry[],
  roles: RoleEntry[],
  created: (container: Container) => void,
): HTMLDialogElement {
  const trouble = h("p", { class: "trouble", role: "alert" });
  const image = h("select", { name: "image" }, ...images.map((entry) => option(entry.name, imageLabel(entry))));
  const custom = h("input", { name: "custom_image", placeholder: "ghcr.io/owner/image:tag" });
  const customField = field("Image reference", custom);
  const role = h("select", { name: "role" }, option("", "none (basic shell)"), ...roles.map((entry) => option(entry.name)));
  const name = h("input", { name: "name", placeholder: "chosen for you", pattern: "[A-Za-z0-9][A-Za-z0-9_\\-]{0,63}" });
  const memory = size("memory_mb", profile.limits.memory_mb, 256, 1);
  const cpu = size("cpu_shares", profile.limits.cpu_shares, 250, 50);
  const disk = size("disk_mb", profile.limits.disk_mb, 1024, 1);
  const theme = h("select", { name: "theme" }, option("rexec"), option("minimal"), option("powerlevel10k"));
  const switches = SHELL_OPTIONS.map(([key, label, on]) => {
    const box = h("input", { type: "checkbox", name: key, checked: on });
    return { key, box, row: h("label", { class: "check" }, box, label) };
  });
  const submit = h("button", { class: "primary", type: "submit" }, "Create");

  const wanted = () => {
    const body: Record<string, unknown> = { image: image.value };
    if (image.value === "custom") body.custom_image = custom.value.trim();
    if (name.value.trim() !== "") body.name = name.value.trim();
    if (role.value !== "") body.role = role.value;
    for (const input of [memory, cpu, disk]) if (input.value !== "") body[input.name] = Number(input.value);
    body.shell = { theme: theme.value, ...Object.fromEntries(switches.map(({ key, box }) => [key, box.checked])) };
    return body;
  };

  const showCustom = () => {
    customField.hidden = image.value !== "custom";
    custom.required = image.value === "custom";
  };
  image.addEventListener("change", showCustom);
  showCustom();

  const dialog = h(
    "dialog",
    { class: "create", onclose: () => dialog.remove() },
    h(
      "form",
      {
        onsubmit: async (event) => {
          event.preventDefault();
          trouble.textContent = "";
          submit.disabled = true;
          try {
            created(await api.create(wanted()));
            dialog.close();
          } catch (error) {
            trouble.textContent = (error as Error).message;
          } finally {
            submit.disabled = false;
          }
        },
      },
      h("h2", {}, "New container"),
      field("Image", image),
      customField,
      field("Name", name),
      field("Role", role),
      h(
        "div",
        { class: "sizes" },
        field("Memory, MB", memory, `256 – ${profile.limits.memory_mb.max}`),
        field("CPU, millicores", cpu, `250 – ${profile.limits.cpu_shares.max}`),
        field("Disk, MB", disk, `1024 – ${profile.limits.disk_mb.max}`),
      ),
      h("details", {}, h("summary", {}, "Shell"), field("Theme", theme), ...switches.map(({ row }) => row)),
      trouble,
      h("div", { class: "actions" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), submit),
    ),
  );
  return dialog;
}
