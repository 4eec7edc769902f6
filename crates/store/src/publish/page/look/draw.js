// A tile of the map: its pixels from the samples of chunks.

import { COLOURS, chosen, metres } from "./scenes.js";

/** Side of a tile of the map in pixels. */
export const SIDE = 256;

/** Which sample of an image each pixel shows, and -1 beyond it. `start` and `pixel` are metres from the image's edge. */
function along(start, pixel, step, count, reduce, reduced) {
  return Int32Array.from({ length: SIDE }, (_, i) => {
    const at = (start + (i + 0.5) * pixel) / step;
    if (at < 0 || at >= count) return -1;
    // Sample k of a reduced image is centred on sample k * 2^reduce of the full one.
    return Math.min(Math.max(Math.round((at - 0.5) / 2 ** reduce), 0), reduced - 1);
  });
}

/** Samples of one array below the tile: a function of row and column of the tile. */
async function layer(chunks, store, paths, product, view, isClasses) {
  for (const { tree, step } of product.places) {
    const path = tree + chosen(paths.filter((one) => store.document(tree + one)), view.pixel);
    const document = store.document(path);
    if (!document || document.codecs[0].name !== "s2ice.jpeg2000") continue;
    const size = metres(path);
    // Classes are picked, not halved: a mean of two classes is a third one.
    const halvings = isClasses ? 0 : Math.max(0, Math.floor(Math.log2(view.pixel / size) + 1e-9));
    const made = chunks.codec(path, halvings);
    const { codec: { shape: [components, height, width], imageShape: [rows, columns] }, reduce } = made;
    const [ys, xs] = [along(view.y, view.pixel, size, document.shape.at(-2), reduce, rows), along(view.x, view.pixel, size, document.shape.at(-1), reduce, columns)];
    const grid = (places, side) => [...new Set(places)].filter((at) => at >= 0).map((at) => Math.floor(at / side));
    const found = new Map();
    const wanted = [];
    for (const row of new Set(grid(ys, height))) {
      for (const column of new Set(grid(xs, width))) {
        const index = [step, ...(components > 1 ? [0] : []), row, column];
        wanted.push(chunks.samples(path, index, made, view.isWanted).then((samples) => samples && found.set(row * 65536 + column, samples)));
      }
    }
    await Promise.all(wanted);
    if (!found.size) continue;
    const { scale_factor: scale = 1, add_offset: offset = 0 } = document.attributes;
    const plane = height * width;
    const at = (i, j, component) => {
      const [y, x] = [ys[i], xs[j]];
      if (y < 0 || x < 0) return 0;
      const samples = found.get(Math.floor(y / height) * 65536 + Math.floor(x / width));
      return samples ? samples[component * plane + (y % height) * width + (x % width)] : 0;
    };
    return { at, scale, offset, path, reduce };
  }
  return undefined;
}

/**
 * Red, green, blue and opacity of a tile; `undefined` where the product has nothing there. `view` is where its upper left corner lies
 * and how large a pixel is, in metres from the image's corner, and what reflectance is white.
 */
export async function draw(chunks, store, scene, product, view) {
  const layers = await Promise.all(scene.channels.map((paths) => layer(chunks, store, paths, product, view, scene.kind === "classes")));
  if (layers.some((one) => !one)) return undefined;
  const out = new Uint8ClampedArray(4 * SIDE * SIDE);
  const pixel = { picture, classes, reflectance }[scene.kind];
  for (let i = 0, to = 0; i < SIDE; i += 1) for (let j = 0; j < SIDE; j += 1, to += 4) pixel(out, to, layers, i, j, view.white);
  return { pixels: out, drawn: layers.map(({ path, reduce }) => ({ path, reduce })) };
}

function picture(out, to, [{ at }], i, j) {
  for (let component = 0; component < 3; component += 1) out[to + component] = at(i, j, component);
  out[to + 3] = out[to] || out[to + 1] || out[to + 2] ? 255 : 0;
}

function classes(out, to, [{ at }], i, j) {
  const value = at(i, j, 0);
  out.set(COLOURS[value] ?? [0, 0, 0], to);
  out[to + 3] = value ? 255 : 0;
}

function reflectance(out, to, layers, i, j, white) {
  let seen = 255;
  for (let channel = 0; channel < 3; channel += 1) {
    const { at, scale, offset } = layers[channel] ?? layers[0];
    const value = at(i, j, 0);
    // 0 is no data.
    if (!value) seen = 0;
    out[to + channel] = ((value * scale + offset) / white) * 255;
  }
  out[to + 3] = seen;
}
