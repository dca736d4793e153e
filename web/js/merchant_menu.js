// The store's menu as its staff sees it: pictures, what is on sale, and how many there are.

import { h } from "./dom.js";
import { money, t } from "./i18n.js";
import { pictureButton } from "./pictures.js";
import { empty } from "./shell.js";

export function menuView(screen) {
  if (!screen.menu) return empty(t("loading"));
  const logo = h("section", { key: "logo", class: "category" }, h("h3", null, t("board.logo")),
    h("div", { class: "item" }, pictureButton(screen.store.logo, { label: t("board.logo"), busy: screen.busy("logo"), take: (file) => screen.setLogo(file) })));
  return h("div", { class: "page", key: "menu" }, logo, screen.menu.map((category) => h("section", { key: category.id, class: "category" },
    h("h3", null, category.name),
    h("ul", { class: "rows" }, category.items.map((item) => itemView(screen, item))))));
}

function itemView(screen, item) {
  const open = screen.counting === item.id;
  return h("li", { key: item.id, class: item.isAvailable ? "" : "faded" },
    h("div", { class: "item" },
      pictureButton(item.picture, { label: t("board.picture", { name: item.name }), busy: screen.busy(item.id), take: (file) => screen.setPicture(item, file) }),
      h("span", { class: "row-main" }, h("strong", null, item.name), h("span", { class: "sub" }, item.skus.map((s) => `${s.name} ${money(s.price)}${s.stock === null ? "" : ` · ${t("board.pieces", { n: s.stock })}`}`).join(" / "))),
      item.isSoldOut && h("span", { class: "chip s-EXPIRED" }, t("shop.soldOut")),
      h("button", {
        key: "stock", type: "button", class: "quiet small", "aria-expanded": String(open),
        onclick: () => { screen.counting = open ? null : item.id; screen.update(); },
      }, t("board.stock")),
      h("button", {
        key: "sale", type: "button", class: "small", role: "switch", "aria-checked": String(item.isAvailable), disabled: screen.busy(item.id), onclick: () => screen.setAvailable(item, !item.isAvailable),
      }, item.isAvailable ? t("board.onSale") : t("board.offSale"))),
    open && h("div", { key: "counts", class: "counts" }, item.skus.map((sku) => countForm(screen, item, sku))));
}

function countForm(screen, item, sku) {
  const name = [item.name, sku.name].filter(Boolean).join(" ");
  return h("form", {
    key: sku.id,
    onsubmit: (event) => {
      event.preventDefault();
      screen.setStock(item, sku, event.target.elements.stock.valueAsNumber);
    },
  },
  h("label", null, h("span", { class: "row-main" }, sku.name || item.name),
    h("input", {
      name: "stock", type: "number", inputmode: "numeric", min: "0", step: "1", required: true, "aria-label": t("board.stockOf", { name }),
      placeholder: t("board.stockFree"), value: sku.stock === null ? "" : String(sku.stock),
    })),
  h("button", { type: "submit", class: "small", disabled: screen.busy(item.id) }, t("board.stockSet")),
  sku.stock !== null && h("button", { key: "free", type: "button", class: "quiet small", disabled: screen.busy(item.id), onclick: () => screen.setStock(item, sku, null) }, t("board.stockStop")));
}
