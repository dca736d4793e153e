// Distances and small moves on the sphere, in metres and degrees.

const RADIUS = 6_371_008.8;
const RAD = Math.PI / 180;

/** Great-circle distance in metres. */
export function distance(a, b) {
  const dLat = (b.latitude - a.latitude) * RAD;
  const dLon = (b.longitude - a.longitude) * RAD;
  const s = Math.sin(dLat / 2) ** 2 + Math.cos(a.latitude * RAD) * Math.cos(b.latitude * RAD) * Math.sin(dLon / 2) ** 2;
  return 2 * RADIUS * Math.asin(Math.min(1, Math.sqrt(s)));
}

/** The point `east` and `north` metres from here. */
export function offset(point, east, north) {
  return {
    latitude: point.latitude + north / RADIUS / RAD,
    longitude: point.longitude + east / (RADIUS * Math.cos(point.latitude * RAD)) / RAD,
  };
}

/** `a` moved `metres` towards `b`, never beyond it. */
export function towards(a, b, metres) {
  const total = distance(a, b);
  const share = total <= metres ? 1 : metres / total;
  return {
    latitude: a.latitude + (b.latitude - a.latitude) * share,
    longitude: a.longitude + (b.longitude - a.longitude) * share,
  };
}

/** Compass degrees from `a` to `b`. */
export function heading(a, b) {
  const east = (b.longitude - a.longitude) * Math.cos(a.latitude * RAD);
  return (Math.atan2(east, b.latitude - a.latitude) / RAD + 360) % 360;
}

/** A point as GeoPointInput. */
export function pointInput(point, crs = "GCJ02") {
  return { latitude: point.latitude, longitude: point.longitude, crs };
}
