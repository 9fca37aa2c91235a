type Child = Node | string | null | undefined | false;
type Props = Record<string, string | number | boolean | ((event: Event) => void) | undefined>;

let ids = 0;

/** An element with attributes, `on…` listeners and children. Text is always text, never markup. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(child);
  return element;
}

/** Leaves what is already so alone: no flicker, no lost focus, nothing read aloud twice. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export type Control = HTMLInputElement | HTMLSelectElement;

/** A labelled control with a hint, and the place where its error is told. */
export interface Field {
  element: HTMLElement;
  control: Control;
  /** Empty clears it. */
  complain(message: string): void;
}

export function field(label: string, control: Control, hint = ""): Field {
  const id = `field-${++ids}`;
  const error = h("p", { class: "error", id: `${id}-error` });
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-error${hint === "" ? "" : ` ${id}-hint`}`);
  const element = h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    control,
    error,
    hint !== "" && h("small", { id: `${id}-hint` }, hint),
  );
  const complain = (message: string) => {
    setText(error, message);
    control.toggleAttribute("aria-invalid", false);
    if (message !== "") control.setAttribute("aria-invalid", "true");
  };
  control.addEventListener("input", () => complain(""));
  return { element, control, complain };
}
