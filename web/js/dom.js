// Declarative DOM in one page: `h` describes, `render` makes the document agree with the description.
// Data only ever becomes text nodes, attributes and properties; markup is never parsed.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "rect", "circle", "line", "g", "polyline", "title"]);

/**
 * Describe an element. Properties: `key`, `on<event>` functions, `vars` (CSS custom properties), `value`, `checked`,
 * and attributes (null/false leave them out, true sets them empty). Children: descriptions, live nodes, text, arrays.
 */
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, children: children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false) };
}

/** Make the children of `root` what the descriptions say, keeping nodes (and their focus) that stay. */
export function render(root, ...children) {
  patchChildren(root, h("root", null, children).children);
}

function poolName(node) {
  return node.$key === undefined ? node.nodeName.toLowerCase() : `${node.nodeName.toLowerCase()}|${node.$key}`;
}

function wantedName(child) {
  if (typeof child !== "object") return "#text";
  return child.props.key === undefined ? child.tag : `${child.tag}|${child.props.key}`;
}

function patchChildren(parent, wanted) {
  const pool = new Map();
  for (const node of parent.childNodes) {
    if (wanted.includes(node)) continue;
    const name = poolName(node);
    if (pool.has(name)) pool.get(name).push(node);
    else pool.set(name, [node]);
  }
  const nodes = wanted.map((child) => {
    if (child instanceof Node) return child;
    const found = pool.get(wantedName(child))?.shift();
    return found ? patch(found, child) : create(child);
  });
  for (const rest of pool.values()) for (const node of rest) node.remove();
  let cursor = parent.firstChild;
  for (const node of nodes) {
    if (node === cursor) cursor = cursor.nextSibling;
    else parent.insertBefore(node, cursor);
  }
}

function create(child) {
  if (typeof child !== "object") return document.createTextNode(String(child));
  const node = SVG_TAGS.has(child.tag) ? document.createElementNS(SVG, child.tag) : document.createElement(child.tag);
  node.$props = {};
  node.$on = {};
  if (child.props.key !== undefined) node.$key = child.props.key;
  return patch(node, child);
}

function patch(node, child) {
  if (typeof child !== "object") {
    if (node.data !== String(child)) node.data = String(child);
    return node;
  }
  patchProps(node, child.props);
  patchChildren(node, child.children);
  // A select takes its value only once its options are there.
  if (child.tag === "select" && child.props.value !== undefined && node.value !== child.props.value) node.value = child.props.value;
  return node;
}

function dispatch(event) {
  event.currentTarget.$on[event.type]?.(event);
}

function patchProps(node, props) {
  const old = node.$props;
  for (const name of Object.keys(old)) if (!(name in props)) setProp(node, name, null);
  for (const [name, value] of Object.entries(props)) if (value !== old[name] || name === "vars") setProp(node, name, value, old[name]);
  node.$props = props;
}

function setProp(node, name, value, old) {
  if (name === "key") return;
  if (name.startsWith("on")) {
    const type = name.slice(2);
    if (!(type in node.$on)) node.addEventListener(type, dispatch);
    node.$on[type] = value;
  } else if (name === "vars") {
    for (const [variable, text] of Object.entries(value ?? {})) if (old?.[variable] !== text) node.style.setProperty(variable, text);
  } else if (name === "value" || name === "checked") {
    if (node[name] !== value) node[name] = value ?? "";
  } else if (value === null || value === undefined || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}

let tray = null;

/** Show a short message that goes by itself; `kind` is "error" or "info". */
export function toast(message, kind = "error") {
  if (!tray) {
    tray = document.createElement("div");
    tray.className = "toasts";
    tray.setAttribute("role", "status");
    tray.setAttribute("aria-live", "polite");
    document.body.append(tray);
  }
  const same = [...tray.children].find((note) => note.textContent === message);
  same?.remove();
  const note = document.createElement("button");
  note.type = "button";
  note.className = `toast toast-${kind}`;
  note.textContent = message;
  note.addEventListener("click", () => note.remove());
  tray.append(note);
  while (tray.children.length > 4) tray.firstChild.remove();
  setTimeout(() => note.remove(), kind === "error" ? 8000 : 4000);
}
