// Giving lines of an order back, below its card.

import { h } from "./dom.js";
import { money, t } from "./i18n.js";

/** The lines to tick and the button that refunds them with the second tap. */
export function refundView(screen, order) {
  const draft = screen.draft(order);
  const sum = order.lines.filter((line) => draft.lines.has(line.id)).reduce((total, line) => total + Number(line.total.amount), 0);
  const amount = { amount: sum, currency: order.total.currency };
  const question = `refund:${order.id}:${sum}`;
  return h("fieldset", { key: "refund", class: "refund", disabled: screen.busy(order.id) },
    h("legend", null, t("board.refundWhat")),
    h("ul", null, order.lines.map((line) => h("li", { key: line.id }, h("label", null,
      h("input", { type: "checkbox", checked: draft.lines.has(line.id), onchange: (event) => tick(screen, draft, line, event.target.checked) }),
      h("span", { class: "row-main" }, `${line.quantity}× ${line.itemName}`),
      h("span", { class: "amount" }, money(line.total)))))),
    h("button", {
      type: "button", class: screen.asking === question ? "primary" : "", disabled: sum === 0,
      onclick: () => screen.twice(question, () => screen.refund(order, amount)),
    }, sum === 0 ? t("board.refundNone") : t(screen.asking === question ? "board.refundSure" : "board.refundSum", { money: money(amount) })));
}

function tick(screen, draft, line, on) {
  draft.lines[on ? "add" : "delete"](line.id);
  draft.request = null; // another request, so another key
  screen.update();
}
