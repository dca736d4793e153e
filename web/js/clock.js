// The city's own time, which may run faster than ours: `now()` continues the server's clock at its speed.

import { setZone } from "./i18n.js";
import { CLOCK } from "./operations.js";

export class DomainClock {
  constructor() {
    this.speed = 1;
    this.base = Date.now();
    this.read = performance.now();
    this.known = false;
  }

  /** Take the server's clock, halving the round trip, and the zone of `city`; keeps the local ones when they cannot be read. */
  async sync(client, city = null) {
    const sent = performance.now();
    try {
      const { clock, cities } = await client.request(CLOCK);
      const received = performance.now();
      this.base = Date.parse(clock.now);
      this.read = (sent + received) / 2;
      this.speed = clock.speed;
      this.known = true;
      setZone((cities.find((c) => c.id === city) ?? cities[0])?.timezone);
    } catch {
      this.known = this.known || false;
    }
    return this;
  }

  /** Domain milliseconds since the epoch. */
  now() {
    return this.base + (performance.now() - this.read) * this.speed;
  }

  /** Seconds from now until `time` (RFC 3339); negative when past. */
  until(time) {
    return (Date.parse(time) - this.now()) / 1000;
  }

  iso() {
    return new Date(this.now()).toISOString();
  }
}
