// A full page with one terminal: consumer.html, merchant.html, rider.html.

import { ConsumerScreen } from "./consumer.js";
import { toast } from "./dom.js";
import { explain } from "./i18n.js";
import { MerchantScreen } from "./merchant.js";
import { RiderScreen } from "./rider.js";
import { bar, Gate } from "./shell.js";

const SCREENS = { consumer: ConsumerScreen, merchant: MerchantScreen, rider: RiderScreen };
const page = document.body.dataset.page;
const Screen = SCREENS[page];

let redraw = () => {};
const gate = new Gate(document.getElementById("main"), page.toUpperCase(), (root, context) => new Screen(root, context), () => redraw());
redraw = bar(page, () => gate.badge());
gate.open().catch((error) => toast(explain(error)));
