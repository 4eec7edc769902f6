// Damages chunks and files of Icechunk in a thousand ways: each must decode or be an error in words, and nothing may trap.
//   node damage.mjs REPOSITORY SOURCE SEED
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { Codec, CodecError } from "@s2ice/codec";
import { IcechunkStore } from "@s2ice/codec/icechunk";

const [, , repository, source, start] = process.argv;
let seed = Number(start);
/** A number below `most` (mulberry32). */
function chance(most) {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % most;
}
function damaged(bytes) {
  const out = Uint8Array.from(bytes);
  for (let hits = 1 + chance(4); hits; hits -= 1) out[chance(out.length)] = chance(256);
  return chance(3) ? out : out.subarray(0, chance(out.length));
}

let harm = "";
async function files(url, init) {
  let bytes = await readFile(new URL(url));
  if (harm && url.includes(harm)) bytes = damaged(bytes);
  const [, first, last] = /bytes=(\d+)-(\d+)/.exec(init.headers?.Range ?? "") ?? [];
  return first === undefined ? new Response(bytes) : new Response(bytes.subarray(Number(first), Number(last) + 1), { status: 206 });
}

const url = pathToFileURL(repository).href;
const open = () => IcechunkStore.open(url, { fetch: files, sources: { local: pathToFileURL(source).href } });
const path = "/measurements/reflectance/r60m/b01";
const counts = { decoded: 0, refused: 0, read: 0, unread: 0 };

const store = await open();
const place = await store.place(path, [0, 3, 3]);
const chunk = await store.read(place);
const [{ configuration }] = store.document(path).codecs;
const codec = await Codec.create(configuration);
const right = codec.decode(chunk);
for (let i = 0; i < 1000; i += 1) {
  try {
    const bytes = damaged(chunk);
    if (chance(2)) codec.decode(bytes);
    else codec.decodeParts([{ offset: 0, bytes }], { window: { y: [10, 40], x: [20, 60] } });
    counts.decoded += 1;
  } catch (error) {
    if (!(error instanceof CodecError)) throw error;
    counts.refused += 1;
  }
}
if (codec.decode(chunk).some((sample, i) => sample !== right[i])) throw new Error("damage before changes what is right");

for (const name of ["/repo", "/snapshots/", "/manifests/"]) {
  for (let i = 0; i < 200; i += 1) {
    harm = name;
    try {
      const opened = await open();
      await opened.place(path, [0, 3, 3]);
      counts.read += 1;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      counts.unread += 1;
    }
  }
}
console.log(JSON.stringify(counts));
