// Views of choosing: stores, menu, checkout.

import { h } from "./dom.js";
import { countdown, metres, money, t, time } from "./i18n.js";
import { thumbnail } from "./pictures.js";
import { empty } from "./shell.js";

export function storesView(screen) {
  return [
    h("div", { class: "filter", key: "filter" },
      h("input", {
        type: "search", class: "search", placeholder: t("shop.search"), "aria-label": t("shop.search"), value: screen.search,
        oninput: (event) => screen.find(event.target.value),
      }),
      h("div", { class: "tags" }, screen.tags.map((tag) => h("button", {
        key: tag.id, type: "button", class: "tag", "aria-pressed": String(screen.tag === tag.id), onclick: () => screen.filter(tag.id),
      }, tag.name)))),
    !screen.stores && (screen.busy("start") || screen.busy("stores"))
      ? empty(t("loading"))
      : !screen.stores
        ? h("div", { class: "empty" }, h("button", { type: "button", onclick: () => screen.start() }, t("retry")))
        : screen.stores.length === 0
          ? empty(t("shop.none"))
          : h("ul", { class: "rows", key: "stores" }, screen.stores.map((store) => storeRow(screen, store))),
  ];
}

function storeRow(screen, store) {
  return h("li", { key: store.id }, h("button", {
    class: `row${store.isOpen ? "" : " faded"}`, type: "button", disabled: screen.busy(`store:${store.id}`), onclick: () => screen.openStore(store.id),
  },
    thumbnail(store.logo),
    h("span", { class: "row-main" },
      h("strong", { class: "ellipsis" }, store.name),
      h("span", { class: "sub ellipsis" }, store.tags.map((tag) => tag.name).join(" · ")),
      h("span", { class: "sub" }, store.isOpen
        ? `${t("shop.minimum", { money: money(store.minimumOrder) })} · ${t("shop.fee", { money: money(store.deliveryFee) })}`
        : store.opensAt ? t("shop.opensAt", { time: time(store.opensAt) }) : t("shop.closed"))),
    h("span", { class: "row-side" },
      h("span", null, metres(store.distanceMetres)),
      store.isOpen
        ? h("span", { class: "sub" }, t("minutes", { n: store.prepMinutes }))
        : h("span", { class: "chip s-CANCELLED" }, t("shop.closed"))),
  ));
}

export function menuView(screen) {
  const { store } = screen;
  const total = screen.cart.reduce((n, l) => n + l.quantity, 0);
  return [
    h("div", { class: "store-head pad", key: "facts" },
      thumbnail(store.logo),
      h("p", { class: "sub" }, [
        store.isOpen ? t("shop.prep", { n: store.prepMinutes }) : t("shop.closed"),
        t("shop.minimum", { money: money(store.minimumOrder) }),
        t("shop.fee", { money: money(store.deliveryFee) }),
      ].join(" · "))),
    store.photos.length > 0 && h("div", { class: "photos pad", key: "photos", role: "group", "aria-label": t("shop.photos"), tabindex: "0" },
      store.photos.map((photo) => thumbnail(photo))),
    store.menu.every((c) => c.items.length === 0) && empty(t("shop.menuEmpty")),
    store.menu.filter((c) => c.items.length).map((category) => h("section", { key: category.id, class: "category" },
      h("h3", null, category.name),
      h("ul", { class: "rows" }, category.items.map((item) => itemRow(screen, item))))),
    h("div", { class: "cart-bar", key: "cart" },
      h("span", { class: "cart-count" }, t("cart.items", { n: total })),
      h("strong", { class: "end" }, money(screen.cartTotal())),
      h("button", { class: "primary", type: "button", disabled: total === 0, onclick: () => screen.checkout() }, t("cart.next"))),
    screen.choosing && choiceSheet(screen),
  ];
}

function itemRow(screen, item) {
  const sku = item.skus[0];
  const out = !item.isAvailable || item.isSoldOut || !sku;
  const plain = item.skus.length === 1 && item.optionGroups.length === 0;
  const count = screen.count(item);
  const low = plain && sku?.stock !== null && sku?.stock <= 20 && !out;
  return h("li", { key: item.id, class: `item${out ? " faded" : ""}` },
    thumbnail(item.picture),
    h("span", { class: "row-main" },
      h("strong", null, item.name),
      item.description && h("span", { class: "sub clamp" }, item.description),
      h("span", { class: "price" }, money(sku?.price), low && h("span", { class: "low" }, t("shop.left", { n: sku.stock })))),
    out
      ? h("span", { class: "sub" }, t("shop.soldOut"))
      : plain
        ? h("span", { class: "stepper" },
          count > 0 && h("button", { key: "minus", type: "button", class: "round", "aria-label": t("shop.minus", { name: item.name }), onclick: () => screen.add(item, sku, [], -1) }, "−"),
          count > 0 && h("span", { key: "count", class: "count" }, count),
          h("button", { key: "plus", type: "button", class: "round solid", "aria-label": t("shop.plus", { name: item.name }), onclick: () => screen.add(item, sku) }, "+"))
        : h("span", { class: "stepper" },
          count > 0 && h("span", { key: "count", class: "count" }, count),
          h("button", { key: "choose", type: "button", class: "small", onclick: () => openChoice(screen, item) }, t("shop.choose"))));
}

function openChoice(screen, item) {
  const picked = new Set(item.optionGroups.flatMap((g) => g.options.slice(0, g.minSelected).map((o) => o.id)));
  screen.choosing = { item, sku: item.skus.find((s) => s.stock !== 0) ?? item.skus[0], picked };
  screen.update();
}

function choiceSheet(screen) {
  const { item, sku, picked } = screen.choosing;
  const options = item.optionGroups.flatMap((g) => g.options).filter((o) => picked.has(o.id));
  const complete = item.optionGroups.every((g) => {
    const n = g.options.filter((o) => picked.has(o.id)).length;
    return n >= g.minSelected && n <= g.maxSelected;
  });
  const price = { amount: Number(sku.price.amount) + options.reduce((s, o) => s + Number(o.priceDelta.amount), 0), currency: sku.price.currency };
  const close = () => { screen.choosing = null; screen.update(); };
  return h("div", { class: "sheet-veil", key: "choice" }, h("div", { class: "sheet", role: "dialog", "aria-modal": "true", "aria-label": item.name },
    h("h3", null, item.name),
    item.skus.length > 1 && h("div", { class: "tags" }, item.skus.map((s) => h("button", {
      key: s.id, type: "button", class: "tag", disabled: s.stock === 0, "aria-pressed": String(s.id === sku.id),
      onclick: () => { screen.choosing.sku = s; screen.update(); },
    }, `${s.name} ${money(s.price)}`))),
    item.optionGroups.map((group) => h("div", { key: group.id, class: "group" },
      h("p", { class: "sub" }, `${group.name} · ${t(group.minSelected === group.maxSelected ? "shop.pickExactly" : "shop.pick", { min: group.minSelected, max: group.maxSelected })}`),
      h("div", { class: "tags" }, group.options.map((option) => h("button", {
        key: option.id, type: "button", class: "tag", "aria-pressed": String(picked.has(option.id)), onclick: () => toggle(screen, group, option),
      }, Number(option.priceDelta.amount) ? `${option.name} +${money(option.priceDelta)}` : option.name))))),
    h("div", { class: "buttons" },
      h("button", { class: "quiet", type: "button", onclick: close }, t("close")),
      h("button", {
        class: "primary", type: "button", disabled: !complete,
        onclick: () => { screen.add(item, sku, options); close(); },
      }, `${t("shop.add")} ${money(price)}`)),
  ));
}

function toggle(screen, group, option) {
  const { picked } = screen.choosing;
  if (picked.has(option.id)) picked.delete(option.id);
  else {
    if (group.maxSelected === 1) for (const other of group.options) picked.delete(other.id);
    picked.add(option.id);
  }
  screen.update();
}

export function checkoutView(screen) {
  const { store, quote } = screen;
  const left = quote ? screen.clock.until(quote.expiresAt) / screen.clock.speed : 0;
  const expired = quote && left <= 0;
  const field = (label, value, change, props = {}) => h("label", { class: "field" }, label,
    h("input", { value, oninput: (event) => { change(event.target.value); screen.update(); }, ...props }));
  return [
    store.services.length > 1 && h("div", { class: "segments", role: "group", "aria-label": t("checkout.mode") }, store.services.map((mode) => h("button", {
      key: mode, type: "button", "aria-pressed": String(screen.mode === mode), onclick: () => { screen.mode = mode; screen.requote(); },
    }, t(`mode.${mode}`)))),
    screen.mode === "DELIVERY" && h("fieldset", { class: "card", key: "address" }, h("legend", null, t("checkout.address")),
      h("div", { class: "two" },
        field(t("checkout.contact"), screen.contact.name ?? t("demo.contact"), (v) => (screen.contact.name = v), { autocomplete: "name" }),
        field(t("checkout.phone"), screen.contact.phone, (v) => (screen.contact.phone = v), { type: "tel", autocomplete: "tel" })),
      field(t("checkout.text"), screen.contact.text ?? t("demo.address"), (v) => (screen.contact.text = v), { autocomplete: "street-address" })),
    screen.mode === "DINE_IN" && store.tables.length > 0 && h("label", { class: "field card", key: "table" }, t("checkout.table"),
      h("select", { value: screen.table, onchange: (event) => { screen.table = event.target.value; } },
        store.tables.map((table) => h("option", { key: table.id, value: table.id }, `${table.code} · ${t("queue.persons", { n: table.seats })}`)))),
    h("div", { class: "card", key: "lines" },
      h("ul", { class: "lines" }, screen.cart.map((line) => h("li", { key: line.key },
        h("span", { class: "row-main" }, h("span", null, line.item.name),
          (line.options.length > 0 || line.item.skus.length > 1) && h("span", { class: "sub" }, [line.sku.name, ...line.options.map((o) => o.name)].join(" · "))),
        h("span", { class: "stepper" },
          h("button", { type: "button", class: "round", "aria-label": t("shop.minus", { name: line.item.name }), onclick: () => screen.add(line.item, line.sku, line.options, -1) }, "−"),
          h("span", { class: "count" }, line.quantity),
          h("button", { type: "button", class: "round", "aria-label": t("shop.plus", { name: line.item.name }), onclick: () => screen.add(line.item, line.sku, line.options, 1) }, "+"))))),
      h("dl", { class: "sums" },
        h("dt", null, t("checkout.subtotal")), h("dd", null, money(quote?.subtotal ?? screen.cartTotal())),
        h("dt", null, t("checkout.fee")), h("dd", null, money(quote?.deliveryFee)),
        h("dt", { class: "strong" }, t("checkout.total")), h("dd", { class: "strong" }, money(quote?.total)))),
    h("label", { class: "field", key: "note" }, t("checkout.note"),
      h("input", { value: screen.note, maxlength: 200, oninput: (event) => { screen.note = event.target.value; } })),
    h("p", { class: "hint", key: "valid" }, quote ? (expired ? t("checkout.expired") : t("checkout.valid", { time: countdown(left) })) : screen.busy("quote") ? t("loading") : " "),
    quote && !expired
      ? h("button", { key: "place", class: "primary wide", type: "button", disabled: screen.busy("place"), onclick: () => placeAndPay(screen) }, t("checkout.place", { money: money(quote.total) }))
      : h("button", { key: "requote", class: "primary wide", type: "button", disabled: screen.busy("quote"), onclick: () => screen.fetchQuote() }, t("checkout.requote")),
  ];
}

async function placeAndPay(screen) {
  const order = await screen.place();
  if (order) await screen.pay(order);
}
