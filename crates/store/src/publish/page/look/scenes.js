// What a store's arrays can be drawn as.

const BANDS = "/measurements/reflectance";
const COMPOSITES = [
  ["True colour", ["b04", "b03", "b02"]],
  ["Near infrared, red, green", ["b08", "b04", "b03"]],
  ["Near infrared (narrow), red, green", ["b8a", "b04", "b03"]],
  ["Short-wave infrared, near infrared, red", ["b12", "b8a", "b04"]],
];
const PICTURE = "/quality/l2a_quicklook";
const CLASSES = "/conditions/mask/l2a_classification";

/** ESA's colours of the scene classes, by value; no data is transparent. */
export const COLOURS = [
  [0, 0, 0], [255, 0, 0], [47, 47, 47], [100, 50, 0], [0, 160, 0], [255, 230, 90],
  [0, 0, 255], [128, 128, 128], [192, 192, 192], [255, 255, 255], [100, 200, 255], [255, 150, 255],
];

/** Scenes that a store has: kind, title, and for each channel the arrays that may give it, by their paths below a tree. */
export function scenes(store) {
  const arrays = new Set(store.paths.map((path) => path.replace(/^\/eras\/[^/]+/, "")).filter((path) => /\/r(10|20|60)m\/\w+$/.test(path)));
  const having = (group, name) => ["r10m", "r20m", "r60m"].map((r) => `${group}/${r}/${name}`).filter((path) => arrays.has(path));
  const out = [];
  const add = (kind, title, channels) => {
    if (channels.every((paths) => paths.length)) out.push({ kind, title, channels });
  };
  // The picture is one array of three bands: a third of the requests.
  add("picture", "True colour (TCI)", [having(PICTURE, "tci")]);
  for (const [title, names] of COMPOSITES) add("reflectance", `${title} (${names.join(", ").toUpperCase()})`, names.map((name) => having(BANDS, name)));
  add("classes", "Scene classes (SCL)", [having(CLASSES, "scl")]);
  const names = new Set([...arrays].filter((path) => path.startsWith(BANDS)).map((path) => path.split("/").at(-1)));
  for (const name of [...names].filter((name) => /^b\w+$/.test(name)).sort()) add("reflectance", `Band ${name.toUpperCase()}`, [having(BANDS, name)]);
  return out;
}

/** Metres of a pixel, by an array's path. */
export const metres = (path) => Number(/\/r(\d+)m\//.exec(path)[1]);

/**
 * The array to draw from, where several have the band: of those that are fine enough the one that is halved least, which has the
 * fewest tiles; else the finest.
 */
export function chosen(paths, pixel) {
  const enough = paths.filter((path) => metres(path) <= pixel);
  return enough.at(-1) ?? paths[0];
}
