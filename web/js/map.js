// The city drawn on a canvas: a quiet invented ground, stores, riders gliding between their fixes, deliveries as arcs.

import { distance } from "./geo.js";

const FRAME = 1000 / 30;
const METRES_PER_DEGREE = 111_195;
const GLIDE_MIN = 250;
const GLIDE_MAX = 2500;
const PULSE = 1400;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

export class CityMap {
  /** `labels`: how many store names to write. `minimumSpan`: metres shown at least. `padding`: pixels around the fit. */
  constructor({ labels = 0, minimumSpan = 1500, padding = 36 } = {}) {
    this.canvas = document.createElement("canvas");
    this.canvas.className = "map";
    this.canvas.setAttribute("role", "img");
    this.labels = labels;
    this.minimumSpan = minimumSpan;
    this.padding = padding;
    this.stores = [];
    this.deliveries = [];
    this.marks = [];
    this.riders = new Map();
    this.pulses = [];
    this.bounds = null;
    this.origin = null;
    this.interval = 1000;
    this.lastUpdate = 0;
    this.ground = null;
    this.hover = null;
    this.size = { width: 0, height: 0 };
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.canvas);
    this.theme = () => {
      this.colours = null;
      this.ground = null;
      this.wake();
    };
    dark.addEventListener("change", this.theme);
    this.awake = () => this.wake();
    document.addEventListener("visibilitychange", this.awake);
  }

  dispose() {
    this.observer.disconnect();
    dark.removeEventListener("change", this.theme);
    document.removeEventListener("visibilitychange", this.awake);
    cancelAnimationFrame(this.frame);
    this.canvas.remove();
  }

  /**
   * Show this state. stores: {id, name, point, load, open}; riders: {id, point, busy, name};
   * deliveries: {id, from, to, phase: searching|assigned|picked}; marks: {id, point, kind: home|target}.
   */
  set({ stores = this.stores, riders, deliveries = this.deliveries, marks = this.marks }) {
    const now = performance.now();
    this.stores = stores;
    this.deliveries = deliveries;
    this.marks = marks;
    if (riders) {
      if (this.lastUpdate) this.interval = 0.7 * this.interval + 0.3 * Math.min(Math.max(now - this.lastUpdate, GLIDE_MIN), GLIDE_MAX);
      this.lastUpdate = now;
      const seen = new Set();
      for (const rider of riders) {
        seen.add(rider.id);
        const known = this.riders.get(rider.id);
        if (!known) {
          this.riders.set(rider.id, { ...rider, from: rider.point, since: now, over: 1 });
        } else if (known.point.latitude !== rider.point.latitude || known.point.longitude !== rider.point.longitude) {
          const here = position(known, now);
          // A jump no rider can ride is a new place, not a move.
          const jump = distance(here, rider.point) > 3000;
          Object.assign(known, rider, { from: jump ? rider.point : here, since: now, over: jump ? 1 : this.interval * 1.1 });
        } else {
          Object.assign(known, rider);
        }
      }
      for (const id of this.riders.keys()) if (!seen.has(id)) this.riders.delete(id);
    }
    this.wake();
  }

  /** A ring that spreads once at `point`. `kind`: "new" or "done". */
  pulse(point, kind) {
    if (calm.matches) return;
    this.pulses.push({ point, kind, since: performance.now() });
    if (this.pulses.length > 40) this.pulses.shift();
    this.wake();
  }

  /** Fit the view to these points; they stay inside until the next fit. */
  fit(points) {
    const usable = points.filter(Boolean);
    if (usable.length === 0) return;
    const lat = usable.map((p) => p.latitude);
    const lon = usable.map((p) => p.longitude);
    const next = { south: Math.min(...lat), north: Math.max(...lat), west: Math.min(...lon), east: Math.max(...lon) };
    this.origin ??= { latitude: (next.south + next.north) / 2, longitude: (next.west + next.east) / 2 };
    const same = this.bounds && Object.keys(next).every((k) => Math.abs(next[k] - this.bounds[k]) < 1e-6);
    if (same) return;
    this.bounds = next;
    this.ground = null;
    this.wake();
  }

  resize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width || !height) return;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    this.size = { width, height };
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.ratio = ratio;
    this.ground = null;
    this.wake();
  }

  /** What is under a point of the canvas (CSS pixels): {kind, item, x, y} or null. */
  at(x, y) {
    const project = this.projector();
    if (!project) return null;
    const now = performance.now();
    let best = null;
    const consider = (kind, item, point, reach) => {
      const [px, py] = project(point);
      const away = Math.hypot(px - x, py - y);
      if (away <= reach && (!best || away < best.away)) best = { kind, item, away, x: px, y: py };
    };
    for (const rider of this.riders.values()) consider("rider", rider, position(rider, now), 10);
    for (const store of this.stores) consider("store", store, store.point, 12);
    return best;
  }

  projector() {
    if (!this.bounds || !this.size.width) return null;
    const { south, north, west, east } = this.bounds;
    const centre = { latitude: (south + north) / 2, longitude: (west + east) / 2 };
    const shrink = Math.cos((centre.latitude * Math.PI) / 180);
    const spanX = Math.max((east - west) * METRES_PER_DEGREE * shrink, this.minimumSpan);
    const spanY = Math.max((north - south) * METRES_PER_DEGREE, this.minimumSpan);
    const pad = Math.min(this.padding, this.size.width / 6, this.size.height / 6);
    const scale = Math.min((this.size.width - 2 * pad) / spanX, (this.size.height - 2 * pad) / spanY);
    const project = (p) => [
      this.size.width / 2 + (p.longitude - centre.longitude) * METRES_PER_DEGREE * shrink * scale,
      this.size.height / 2 - (p.latitude - centre.latitude) * METRES_PER_DEGREE * scale,
    ];
    project.scale = scale;
    return project;
  }

  wake() {
    if (this.frame || document.hidden) return;
    this.frame = requestAnimationFrame((now) => this.draw(now));
  }

  moving(now) {
    if (this.pulses.length || (this.deliveries.length && !calm.matches)) return true;
    for (const rider of this.riders.values()) if (now < rider.since + rider.over) return true;
    return false;
  }

  palette() {
    if (this.colours) return this.colours;
    const style = getComputedStyle(document.documentElement);
    const names = ["ground", "water", "lane", "road", "ink", "store", "store-closed", "rider-free", "rider-busy", "arc-searching", "arc-assigned", "arc-picked", "home", "halo"];
    this.colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--map-${name}`).trim()]));
    return this.colours;
  }

  draw(now) {
    this.frame = null;
    if (now - (this.drawn ?? 0) < FRAME - 2) {
      this.wake();
      return;
    }
    this.drawn = now;
    const project = this.projector();
    if (!project) return;
    const paint = this.canvas.getContext("2d");
    const colours = this.palette();
    this.ground ??= this.drawGround(project, colours);
    paint.setTransform(1, 0, 0, 1, 0, 0);
    paint.drawImage(this.ground, 0, 0);
    paint.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.drawArcs(paint, project, colours, now);
    this.drawStores(paint, project, colours);
    this.drawMarks(paint, project, colours);
    this.drawRiders(paint, project, colours, now);
    this.drawPulses(paint, project, colours, now);
    if (this.labels) this.drawLabels(paint, project, colours);
    if (this.moving(now)) this.wake();
  }

  // Ring roads, avenues, lanes and a canal around the first centre: a place, but no claim about real streets.
  drawGround(project, colours) {
    const sheet = document.createElement("canvas");
    sheet.width = this.canvas.width;
    sheet.height = this.canvas.height;
    const paint = sheet.getContext("2d");
    paint.scale(this.ratio, this.ratio);
    const { width, height } = this.size;
    paint.fillStyle = colours.ground;
    paint.fillRect(0, 0, width, height);
    const [cx, cy] = project(this.origin);
    const s = project.scale;
    const x = (metres) => cx + metres * s;
    const y = (metres) => cy - metres * s;
    const reach = Math.max(width, height) / s + Math.hypot(cx - width / 2, cy - height / 2) / s;
    const random = seeded(7);
    const stroke = (colour, thick, draw) => {
      paint.strokeStyle = colour;
      paint.lineWidth = thick;
      paint.beginPath();
      draw();
      paint.stroke();
    };
    paint.lineCap = "round";
    paint.lineJoin = "round";

    stroke(colours.water, Math.max(4, 110 * s), () => {
      paint.moveTo(x(-reach), y(2600));
      paint.bezierCurveTo(x(-5200), y(3600), x(-3100), y(900), x(-1500), y(1500));
      paint.bezierCurveTo(x(-300), y(1950), x(600), y(-400), x(1900), y(-900));
      paint.bezierCurveTo(x(3600), y(-1600), x(4300), y(-3900), x(reach), y(-4300));
    });
    paint.fillStyle = colours.water;
    for (const [ex, ey, rx, ry, turn] of [[-1350, 1480, 430, 210, -0.5], [-620, 1150, 300, 170, 0.3], [2900, -1450, 360, 180, 0.5]]) {
      paint.beginPath();
      paint.ellipse(x(ex), y(ey), rx * s, ry * s, turn, 0, Math.PI * 2);
      paint.fill();
    }

    // Lanes (hutong): short east-west alleys between the avenues, only where they can be told apart.
    const block = 700;
    const steps = Math.min(40, Math.ceil(reach / block));
    if (s * 100 > 3) {
      stroke(colours.lane, 1, () => {
        for (let i = -steps; i < steps; i++) {
          for (let j = -steps; j < steps; j++) {
            const alleys = 4 + Math.floor(random() * 3);
            for (let k = 1; k < alleys; k++) {
              const inset = random() * 0.3;
              const far = 1 - random() * 0.3;
              const at = (j + k / alleys) * block;
              paint.moveTo(x((i + inset) * block), y(at));
              paint.lineTo(x((i + far) * block), y(at + (random() - 0.5) * 26));
            }
          }
        }
      });
    }
    stroke(colours.road, Math.max(1, 12 * s), () => {
      for (let i = -steps; i <= steps; i++) {
        if (i % 2 && s * block < 26) continue;
        paint.moveTo(x(i * block), y(-reach));
        paint.lineTo(x(i * block), y(reach));
        paint.moveTo(x(-reach), y(i * block));
        paint.lineTo(x(reach), y(i * block));
      }
    });
    stroke(colours.road, Math.max(2, 30 * s), () => {
      for (const ring of [2100, 4200, 7000, 10500]) {
        paint.roundRect(x(-ring), y(ring), 2 * ring * s, 2 * ring * s, Math.max(6, ring * 0.12 * s));
      }
    });
    return sheet;
  }

  drawArcs(paint, project, colours, now) {
    paint.lineCap = "round";
    const flow = calm.matches ? 0 : now / 60;
    for (const { from, to, phase } of this.deliveries) {
      const [x1, y1] = project(from);
      const [x2, y2] = project(to);
      const bend = 0.18;
      const mx = (x1 + x2) / 2 + (y1 - y2) * bend;
      const my = (y1 + y2) / 2 - Math.abs(x2 - x1) * bend;
      paint.strokeStyle = colours[`arc-${phase}`];
      paint.lineWidth = phase === "picked" ? 1.8 : 1.2;
      paint.globalAlpha = phase === "picked" ? 0.9 : 0.65;
      paint.setLineDash(phase === "searching" ? [2, 5] : phase === "assigned" ? [5, 5] : [14, 4]);
      paint.lineDashOffset = phase === "searching" ? 0 : -flow;
      paint.beginPath();
      paint.moveTo(x1, y1);
      paint.quadraticCurveTo(mx, my, x2, y2);
      paint.stroke();
      paint.setLineDash([]);
      paint.fillStyle = colours[`arc-${phase}`];
      paint.beginPath();
      paint.arc(x2, y2, 2.2, 0, Math.PI * 2);
      paint.fill();
    }
    paint.globalAlpha = 1;
  }

  drawStores(paint, project, colours) {
    for (const store of this.stores) {
      const [x, y] = project(store.point);
      const r = 3.2 + Math.min(7, 2.1 * Math.sqrt(store.load ?? 0));
      paint.fillStyle = store.open === false ? colours["store-closed"] : colours.store;
      paint.strokeStyle = colours.halo;
      paint.lineWidth = 1.5;
      paint.beginPath();
      paint.roundRect(x - r, y - r, 2 * r, 2 * r, r * 0.35);
      paint.fill();
      paint.stroke();
    }
  }

  drawMarks(paint, project, colours) {
    for (const mark of this.marks) {
      const [x, y] = project(mark.point);
      paint.fillStyle = colours.home;
      paint.strokeStyle = colours.halo;
      paint.lineWidth = 1.5;
      paint.beginPath();
      paint.moveTo(x, y);
      paint.bezierCurveTo(x - 3, y - 6, x - 7.5, y - 8, x - 7.5, y - 13);
      paint.arc(x, y - 13, 7.5, Math.PI, 0);
      paint.bezierCurveTo(x + 7.5, y - 8, x + 3, y - 6, x, y);
      paint.fill();
      paint.stroke();
      paint.fillStyle = colours.halo;
      paint.beginPath();
      paint.arc(x, y - 13, 2.6, 0, Math.PI * 2);
      paint.fill();
    }
  }

  drawRiders(paint, project, colours, now) {
    for (const rider of this.riders.values()) {
      const [x, y] = project(position(rider, now));
      const colour = rider.busy ? colours["rider-busy"] : colours["rider-free"];
      const moving = rider.from !== rider.point && now < rider.since + rider.over;
      if (moving) {
        const [fx, fy] = project(rider.from);
        paint.strokeStyle = colour;
        paint.globalAlpha = 0.35;
        paint.lineWidth = 3;
        paint.beginPath();
        paint.moveTo(x, y);
        paint.lineTo(x + Math.max(-14, Math.min(14, (fx - x) * 1.5)), y + Math.max(-14, Math.min(14, (fy - y) * 1.5)));
        paint.stroke();
        paint.globalAlpha = 1;
      }
      paint.beginPath();
      paint.arc(x, y, rider.busy ? 4.6 : 3.8, 0, Math.PI * 2);
      paint.fillStyle = rider.busy ? colour : colours.ground;
      paint.fill();
      paint.lineWidth = 1.8;
      paint.strokeStyle = rider.busy ? colours.halo : colour;
      paint.stroke();
    }
  }

  drawPulses(paint, project, colours, now) {
    this.pulses = this.pulses.filter((pulse) => now - pulse.since < PULSE);
    for (const { point, kind, since } of this.pulses) {
      const share = Math.max(0, (now - since) / PULSE);
      const [x, y] = project(point);
      paint.globalAlpha = 1 - share;
      paint.strokeStyle = kind === "done" ? colours["arc-picked"] : colours.store;
      paint.lineWidth = 2;
      paint.beginPath();
      paint.arc(x, y, 4 + 22 * Math.sqrt(share), 0, Math.PI * 2);
      paint.stroke();
    }
    paint.globalAlpha = 1;
  }

  drawLabels(paint, project, colours) {
    paint.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    paint.textBaseline = "middle";
    paint.lineJoin = "round";
    const taken = [];
    let written = 0;
    // Sorted by id under equal load, so that names do not jump from store to store.
    const order = [...this.stores].sort((a, b) => (b.load ?? 0) - (a.load ?? 0) || (a.id < b.id ? -1 : 1));
    for (const store of order) {
      if (written >= this.labels) break;
      const [x, y] = project(store.point);
      const width = paint.measureText(store.name).width;
      const left = x + 12 + width > this.size.width - 4 ? x - 12 - width : x + 12;
      const box = [left - 3, y - 9, left + width + 3, y + 9];
      if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
      taken.push(box);
      written += 1;
      paint.strokeStyle = colours.ground;
      paint.lineWidth = 3.5;
      paint.strokeText(store.name, left, y);
      paint.fillStyle = colours.ink;
      paint.fillText(store.name, left, y);
    }
  }
}

function position(rider, now) {
  const share = calm.matches ? 1 : Math.min(1, Math.max(0, (now - rider.since) / rider.over));
  return {
    latitude: rider.from.latitude + (rider.point.latitude - rider.from.latitude) * share,
    longitude: rider.from.longitude + (rider.point.longitude - rider.from.longitude) * share,
  };
}

/** Phase of a delivery on the map, or null when it is over. */
export function arcPhase(state) {
  if (state === "SEARCHING" || state === "OFFERED") return "searching";
  if (state === "ASSIGNED" || state === "AT_STORE") return "assigned";
  return state === "PICKED_UP" ? "picked" : null;
}

function seeded(seed) {
  let value = seed;
  return () => {
    value = (value * 48271) % 2147483647;
    return value / 2147483647;
  };
}
