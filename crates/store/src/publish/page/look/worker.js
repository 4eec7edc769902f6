// Reads a store for the map of its page. The page starts one of these, and that starts some that decode.

import { Codec } from "../../../../../javascript/js/codec.js";
import { initialize } from "../../../../../javascript/js/decoder.js";
import { IcechunkStore } from "../../../../../javascript/js/icechunk/index.js";
import { Cancelled, Chunks } from "./chunks.js";
import { products } from "./columns.js";
import { draw } from "./draw.js";
import { Pool } from "./pool.js";
import { scenes } from "./scenes.js";

/** Most workers that decode. */
const MOST = 4;

const asked = { requests: 0, bytes: 0, told: true };
/** Tasks that somebody waits for. */
const wanted = new Set();
let opened;

/** Tells the page what was asked, a little later: many answers come at once. */
function tell() {
  if (!asked.told) return;
  asked.told = false;
  setTimeout(() => {
    asked.told = true;
    postMessage({ asked });
  }, 50);
}

/** Asks, and counts. An answer that is not the part that was asked for is not read. */
async function counting(url, init) {
  asked.requests += 1;
  tell();
  const answer = await fetch(url, init);
  if (answer.status === 200 && init.headers?.Range) return answer;
  const body = await answer.arrayBuffer();
  asked.bytes += body.byteLength;
  tell();
  return new Response(body, { status: answer.status, headers: answer.headers });
}

async function open({ url, sources }) {
  const [store, decoder] = await Promise.all([IcechunkStore.open(url, { sources, fetch: counting }), initialize()]);
  const pool = new Pool(self.location.href, Math.min(MOST, Math.max(1, (navigator.hardwareConcurrency || 2) - 1)));
  opened = { store, chunks: new Chunks(store, decoder, pool), scenes: scenes(store), products: await products(store) };
  return { scenes: opened.scenes.map(({ title, kind }) => ({ title, kind })), products: opened.products.map(({ name, time, cloud }) => ({ name, time, cloud })) };
}

async function tile({ id, scene, product, view }) {
  const { store, chunks } = opened;
  return draw(chunks, store, opened.scenes[scene], opened.products[product], { ...view, isWanted: () => wanted.has(id) });
}

async function decode({ configuration, bytes }) {
  const codec = await Codec.create(configuration);
  try {
    return { samples: codec.decode(bytes) };
  } finally {
    codec.close();
  }
}

const TASKS = { open, tile };

self.onmessage = async ({ data }) => {
  if (data.role === "decoder") {
    const answer = await decode(data).catch((error) => ({ error: error.message }));
    postMessage(answer, answer.samples ? [answer.samples.buffer] : []);
    return;
  }
  if (data.task === "cancel") {
    wanted.delete(data.id);
    return;
  }
  wanted.add(data.id);
  const answer = await TASKS[data.task](data).then(
    (found) => ({ found }),
    (error) => (error instanceof Cancelled ? { cancelled: true } : { error: error.message }),
  );
  wanted.delete(data.id);
  postMessage({ id: data.id, ...answer }, answer.found?.pixels ? [answer.found.pixels.buffer] : []);
};
