// "Look inside": a map of the store's pixels, read and decoded in the browser. Nothing is loaded and nobody asked before the button
// is pressed. The text of the page stands without it.
"use strict";

(() => {
  const section = document.getElementById("look");
  const place = section?.querySelector(".look");
  if (!place) return;
  const assets = new URL("./", document.currentScript.src);
  /** Metres of a pixel at zoom 0, and of the side of a tile of the MGRS grid. */
  const PIXEL = 10;
  const EXTENT = 109_800;
  const side = EXTENT / PIXEL;

  const make = (tag, attributes = {}, text) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const labelled = (text, control) => {
    const label = make("label", {}, text + " ");
    label.append(control);
    return label;
  };

  /** Containers of the store, as the page lists them. */
  const containers = [...section.querySelectorAll("[data-container]")].map(({ dataset }) => ({ name: dataset.container, href: dataset.href, access: dataset.access }));
  const form = make("form", { class: "controls" });
  const status = make("p", { class: "said", role: "status" });
  const counts = make("p", { class: "fine counts" });
  const proxies = new Map();
  form.addEventListener("submit", (event) => event.preventDefault());
  const button = make("button", { type: "submit" }, "Look inside");

  function askForProxies() {
    for (const { name, href } of containers) {
      if (proxies.has(name)) continue;
      const input = make("input", { type: "url", size: "30", placeholder: "http://127.0.0.1:8080/", autocomplete: "off", spellcheck: "false" });
      input.value = href;
      proxies.set(name, input);
      button.before(labelled(`Address of the files, or of a proxy (${name})`, input));
    }
  }

  /** Loads a file of the publication. */
  function load(tag, attributes) {
    return new Promise((done, fail) => {
      const element = make(tag, attributes);
      element.onload = done;
      element.onerror = () => fail(new Error("a file of the page is missing"));
      // In front of what is there: the page's own style has the last word.
      document.head.prepend(element);
    });
  }

  /** The worker that reads: questions with numbers, answers in any order. */
  function reader() {
    const worker = new Worker(new URL("vendor/look-worker.js", assets), { type: "module", name: "reader" });
    const waiting = new Map();
    let last = 0;
    worker.onmessage = ({ data }) => {
      if (data.asked) counts.textContent = `${data.asked.requests.toLocaleString("en")} requests, ${(data.asked.bytes / 1e6).toFixed(2)} MB so far.`;
      waiting.get(data.id)?.(data);
      waiting.delete(data.id);
    };
    worker.onerror = (event) => {
      for (const answer of waiting.values()) answer({ error: event.message || "The reader could not be started." });
      waiting.clear();
    };
    return {
      ask(task, options, then) {
        last += 1;
        waiting.set(last, then);
        worker.postMessage({ id: last, task, ...options });
        return last;
      },
      cancel: (id) => worker.postMessage({ id, task: "cancel" }),
      end: () => worker.terminate(),
    };
  }

  function choice(options) {
    const select = make("select");
    options.forEach((text, i) => select.append(make("option", { value: i }, text)));
    return select;
  }

  function dateOf({ name, time, cloud }) {
    const day = new Date(time).toISOString().slice(0, 10);
    return `${day}, ${name.slice(0, 3)}${Number.isFinite(cloud) ? `, ${Math.round(cloud)} % cloud` : ""}`;
  }

  function show(read, { scenes, products }) {
    const [dates, bands] = [choice(products.map(dateOf)), choice(scenes.map((scene) => scene.title))];
    const white = make("input", { type: "range", min: "0.05", max: "1", step: "0.05", value: "0.3" });
    const told = make("output", {}, "0.3");
    const brightness = labelled("White at reflectance", white);
    brightness.append(" ", told);
    form.replaceChildren(labelled("Date", dates), labelled("Bands", bands), brightness);
    const holder = make("div", { class: "leaflet-holder", role: "region", "aria-label": "Map of the pixels of the chosen date" });
    place.replaceChildren(form, holder, status, counts);

    const crs = L.extend({}, L.CRS.Simple, { distance: (a, b) => PIXEL * Math.hypot(a.lat - b.lat, a.lng - b.lng) });
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const motion = { fadeAnimation: !still, zoomAnimation: !still, inertia: !still };
    const bounds = L.latLngBounds([[-side, 0], [0, side]]);
    const map = L.map(holder, { ...motion, crs, minZoom: -6, maxZoom: 2, scrollWheelZoom: false, attributionControl: false, maxBounds: bounds.pad(0.5) });
    L.control.scale({ imperial: false }).addTo(map);
    L.rectangle(bounds, { className: "edge", fill: false, interactive: false }).addTo(map);
    map.fitBounds(bounds);
    map.on("focus", () => map.scrollWheelZoom.enable());
    map.on("blur", () => map.scrollWheelZoom.disable());

    let open = 0;
    let failed = "";
    const settle = (by) => {
      open += by;
      holder.setAttribute("aria-busy", String(open > 0));
      status.textContent = failed || (open ? "Reading …" : `${dates.selectedOptions[0].text}: ${bands.selectedOptions[0].text}, ${10 * 2 ** -map.getZoom()} m a pixel.`);
    };
    const Pixels = L.GridLayer.extend({
      createTile({ x, y, z }, done) {
        const { x: length } = this.getTileSize();
        const canvas = make("canvas", { width: length, height: length, "data-at": `${z} ${x} ${y}` });
        const pixel = PIXEL * 2 ** -z;
        const view = { x: x * length * pixel, y: y * length * pixel, pixel, white: Number(white.value) };
        settle(1);
        canvas.task = read.ask("tile", { scene: bands.selectedIndex, product: dates.selectedIndex, view }, ({ found, error }) => {
          canvas.task = undefined;
          if (error) {
            failed = `This cannot be read: ${error}.`;
            askForProxies();
            if (!form.contains(button)) form.append(...[...proxies.values()].map((input) => input.parentElement), button);
          }
          if (found) {
            canvas.getContext("2d").putImageData(new ImageData(found.pixels, length), 0, 0);
            canvas.dataset.drawn = found.drawn.map(({ path, reduce }) => `${path} ${reduce}`).join(" ");
          }
          settle(-1);
          done(error ? new Error(error) : null, canvas);
        });
        return canvas;
      },
    });
    const layer = new Pixels({ bounds, minZoom: -6, maxZoom: 2, keepBuffer: 1, updateWhenZooming: false });
    layer.on("tileunload", ({ tile }) => tile.task && read.cancel(tile.task));
    layer.addTo(map);
    const again = () => {
      failed = "";
      brightness.hidden = scenes[bands.selectedIndex].kind !== "reflectance";
      told.textContent = white.value;
      layer.redraw();
    };
    for (const control of [dates, bands, white]) control.addEventListener("change", again);
    white.addEventListener("input", () => { told.textContent = white.value; });
    brightness.hidden = scenes[0].kind !== "reflectance";
  }

  let read;
  async function start() {
    if (location.protocol === "file:") {
      status.textContent = "This needs a web server: a page opened from disk may read nothing.";
      return;
    }
    status.textContent = "Opening the store …";
    button.disabled = true;
    try {
      const sources = Object.fromEntries(containers.map(({ name, href }) => [name, proxies.get(name)?.value.trim() || href]).filter(([, href]) => href));
      if (!window.L) await Promise.all([load("link", { rel: "stylesheet", href: new URL("vendor/leaflet.css", assets) }), load("script", { src: new URL("vendor/leaflet.js", assets) })]);
      read?.end();
      read = reader();
      const url = new URL(place.dataset.store, location.href).href;
      const { found, error } = await new Promise((done) => read.ask("open", { url, sources }, done));
      if (error) throw new Error(error);
      if (!found.products.length || !found.scenes.length) throw new Error("the store has nothing that is drawn here");
      status.textContent = "";
      show(read, found);
    } catch (error) {
      status.textContent = `The store cannot be opened: ${error.message}.`;
      askForProxies();
    }
    button.disabled = false;
  }

  form.append(button);
  form.addEventListener("submit", start);
  place.replaceChildren(form, status);
  // Where it is known beforehand that a page cannot read the files.
  if (containers.some(({ access }) => access !== "open")) askForProxies();
})();
