// Lays what the pages use of others into the crate: the map library as npm has it, the land as a drawing, the worker that reads
// stores as one file, and the decoder.
//
//   npm ci --ignore-scripts --omit dev && node vendor.mjs          writes the files; the decoder where tests/tools/wasm.sh built it
//   npm ci --ignore-scripts --omit dev && node vendor.mjs --check  says which differ, but for the decoder: compilers differ
//
// package-lock.json pins what npm gives by its hash. tests/tools/check_vendored.py looks at the decoder's sources.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const page = join(here, "../../crates/store/src/publish/page");
const modules = join(here, "node_modules");
const { feature } = createRequire(import.meta.url)("topojson-client");

/**
 * A ring without jumps at 180 degrees: world-atlas has rings that go on beyond. One around the pole is closed along it. What
 * lies beyond an edge is drawn at the other one as well.
 */
function unwrapped(points) {
  let turn = 0;
  const ring = points.map(([longitude, latitude], i) => {
    const step = i ? longitude - points[i - 1][0] : 0;
    turn += step > 180 ? -360 : step < -180 ? 360 : 0;
    return [longitude + turn, latitude];
  });
  if (turn) ring.push([ring.at(-1)[0], -90], [ring[0][0], -90], ring[0]);
  const copies = [0, -360, 360].map((by) => ring.map(([longitude, latitude]) => [longitude + by, latitude]));
  return copies.map((copy) => cut(cut(copy, -180, 1), 180, -1));
}

/** What of a ring lies on one side of a meridian. */
function cut(ring, meridian, sign) {
  const within = ([longitude]) => sign * (longitude - meridian) >= 0;
  return ring.flatMap((point, i) => {
    const before = ring[(i || ring.length) - 1];
    const kept = within(point) ? [point] : [];
    if (within(point) === within(before)) return kept;
    const part = (meridian - before[0]) / (point[0] - before[0]);
    return [[meridian, before[1] + part * (point[1] - before[1])], ...kept];
  });
}

/** Land at 1:110 million, in tenths of a degree. y points down, as in all drawings. */
function land() {
  const topology = JSON.parse(readFileSync(join(modules, "world-atlas/land-110m.json"), "utf8"));
  const shapes = feature(topology, topology.objects.land);
  const polygons = shapes.features.flatMap(({ geometry }) => (geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates));
  const text = (value) => String(Math.round(value * 10) / 10);
  const ring = (points) => {
    const places = points.map(([longitude, latitude]) => `${text(longitude)} ${text(-latitude)}`);
    const moved = places.filter((place, i) => place !== places[i - 1]);
    // Z closes the ring.
    if (moved.at(-1) === moved[0]) moved.pop();
    return moved.length < 3 ? "" : `M${moved.join("L")}Z`;
  };
  const path = polygons.flat().flatMap(unwrapped).map(ring).join("");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-180 -90 360 180" width="3600" height="1800"><path fill="#7d929b" fill-opacity=".45" fill-rule="evenodd" d="${path}"/></svg>\n`;
}

/** The worker of "look inside" with all that it imports. */
function worker() {
  const { buildSync } = createRequire(import.meta.url)("esbuild");
  const options = { bundle: true, minify: true, format: "esm", target: "es2022", charset: "utf8", write: false, nodePaths: [modules], logLevel: "error" };
  const banner = { js: "// Made by tests/page/vendor.mjs from crates/store/src/publish/page/look and crates/javascript/js; holds fzstd (LICENSE-fzstd)." };
  return Buffer.from(buildSync({ ...options, banner, entryPoints: [join(page, "look/worker.js")] }).outputFiles[0].contents);
}

const copied = (path) => readFileSync(join(modules, path));
const files = {
  "vendor/leaflet.js": copied("leaflet/dist/leaflet.js"),
  "vendor/leaflet.css": copied("leaflet/dist/leaflet.css"),
  "vendor/LICENSE-leaflet": copied("leaflet/LICENSE"),
  "vendor/LICENSE-fzstd": copied("fzstd/LICENSE"),
  "vendor/look-worker.js": worker(),
  "vendor/LICENSE-world-atlas": copied("world-atlas/LICENSE"),
  "land.svg": Buffer.from(land()),
};
let differ = 0;
mkdirSync(join(page, "vendor"), { recursive: true });
for (const [name, bytes] of Object.entries(files)) {
  const path = join(page, name);
  if (!process.argv.includes("--check")) {
    writeFileSync(path, bytes);
    continue;
  }
  if (!readFileSync(path).equals(bytes)) {
    console.error(`${path} is not what package-lock.json names: run node tests/page/vendor.mjs`);
    differ = 1;
  }
}
const wasm = join(here, "../../target/wasm/codec.wasm");
if (!process.argv.includes("--check") && existsSync(wasm)) {
  writeFileSync(join(page, "vendor/codec.wasm"), readFileSync(wasm));
  execFileSync("python3", [join(here, "../tools/check_vendored.py"), "--record"], { stdio: "inherit" });
}
process.exit(differ);
