// The map of tiles. Everything is drawn by one layer of canvas tiles, land and graticule included: 25,000 boxes as objects
// of the map would have to be laid out again at each step, so they are numbers, and a canvas tile draws those it touches.
"use strict";

(() => {
  const figure = document.getElementById("map");
  if (!figure || !window.L) return;
  const note = figure.querySelector(".map-note");
  const STATES = ["ok", "stale", "failed", "unknown"];

  /** Rows of tiles.json: name, west, south, east, north, newest date, dates, health. What is no such row is passed over. */
  function fromList(list) {
    if (!Array.isArray(list)) throw new Error("not a list");
    const rows = list.filter((row) => Array.isArray(row) && typeof row[0] === "string" && row.slice(1, 5).every(Number.isFinite));
    return rows.map(([name, west, south, east, north, newest, dates, state]) => ({ name, box: [west, south, east, north], newest, dates, state, href: page(name) }));
  }

  /** The address of a tile's page, by the pattern of the publication. */
  function page(name) {
    const zone = /^\d+/.exec(name)?.[0] ?? "";
    return figure.dataset.page.replaceAll("{name}", encodeURIComponent(name)).replaceAll("{zone}", zone);
  }

  function fromTable() {
    return [...document.querySelectorAll("tr[data-box]")].map((row) => ({
      name: row.dataset.tile,
      box: row.dataset.box.split(" ").map(Number),
      newest: row.cells[4].textContent.trim(),
      dates: Number(row.cells[2].textContent.trim().replaceAll(",", "")),
      state: row.dataset.state,
      href: row.querySelector("a").getAttribute("href"),
    }));
  }

  /** Rings of land in degrees, from the path of land.svg: "M x y L x y ... Z" with y down. */
  function rings(text) {
    const path = new DOMParser().parseFromString(text, "image/svg+xml").querySelector("path");
    const parts = (path?.getAttribute("d") ?? "").split("M").filter(Boolean);
    return parts.map((part) => {
      const numbers = part.match(/-?[\d.]+/g).map(Number);
      return Array.from({ length: numbers.length / 2 }, (_, i) => world(-numbers[2 * i + 1], numbers[2 * i]));
    });
  }

  /** Degrees to pixels of the world at zoom 0. */
  function world(latitude, longitude) {
    const point = L.CRS.EPSG3857.latLngToPoint(L.latLng(latitude, longitude), 0);
    return [point.x, point.y];
  }

  function placed(tile) {
    const [west, south, east, north] = tile.box;
    const [x0, y0] = world(north, west);
    const [x1, y1] = world(south, east < west ? east + 360 : east);
    return { ...tile, x0, y0, x1, y1, state: STATES.includes(tile.state) ? tile.state : "unknown" };
  }

  const Drawn = L.GridLayer.extend({
    createTile(coords) {
      const { x: side } = this.getTileSize();
      const ratio = window.devicePixelRatio || 1;
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = side * ratio;
      const to = canvas.getContext("2d");
      const scale = 2 ** coords.z;
      to.scale(ratio, ratio);
      to.translate(-coords.x * side, -coords.y * side);
      const style = getComputedStyle(figure);
      const colour = (name) => style.getPropertyValue("--" + name).trim();
      const window0 = { x0: (coords.x * side) / scale, y0: (coords.y * side) / scale, x1: ((coords.x + 1) * side) / scale, y1: ((coords.y + 1) * side) / scale };
      if (!this.options.layer) this.ground(to, scale, colour, window0);
      this.boxes(to, scale, colour, window0);
      return canvas;
    },

    ground(to, scale, colour, view) {
      to.fillStyle = colour("land");
      to.beginPath();
      for (const ring of this.options.land) {
        ring.forEach(([x, y], i) => (i ? to.lineTo(x * scale, y * scale) : to.moveTo(x * scale, y * scale)));
        to.closePath();
      }
      to.fill("evenodd");
      const step = scale < 8 ? 30 : 6;
      to.strokeStyle = colour("grid");
      to.lineWidth = 0.5;
      to.beginPath();
      for (let longitude = -180; longitude <= 180; longitude += step) {
        const [x] = world(0, longitude);
        if (x >= view.x0 && x <= view.x1) { to.moveTo(x * scale, view.y0 * scale); to.lineTo(x * scale, view.y1 * scale); }
      }
      for (let latitude = -80; latitude <= 80; latitude += step === 30 ? 20 : 8) {
        const [, y] = world(latitude, 0);
        if (y >= view.y0 && y <= view.y1) { to.moveTo(view.x0 * scale, y * scale); to.lineTo(view.x1 * scale, y * scale); }
      }
      to.stroke();
    },

    boxes(to, scale, colour, view) {
      const colours = Object.fromEntries(STATES.map((state) => [state, colour(state)]));
      to.lineWidth = 1.5;
      const labels = [];
      for (const tile of this.options.tiles) {
        // A box over the antimeridian reaches beyond the world: its other part is at the world's left edge.
        for (const shift of tile.x1 > 256 ? [0, -256] : [0]) {
          if (tile.x1 + shift < view.x0 || tile.x0 + shift > view.x1 || tile.y1 < view.y0 || tile.y0 > view.y1) continue;
          const width = Math.max((tile.x1 - tile.x0) * scale, 1.5);
          const height = Math.max((tile.y1 - tile.y0) * scale, 1.5);
          const x = (tile.x0 + shift) * scale;
          const y = tile.y0 * scale;
          to.fillStyle = to.strokeStyle = colours[tile.state];
          to.globalAlpha = width < 12 ? 0.75 : 0.25;
          to.fillRect(x, y, width, height);
          to.globalAlpha = 1;
          if (width >= 12) to.strokeRect(x, y, width, height);
          if (width >= 56) labels.push([tile.name.split("-")[0], x + width / 2, y + height / 2]);
        }
      }
      to.fillStyle = colour("text");
      to.textAlign = "center";
      to.font = "600 12px system-ui, sans-serif";
      for (const label of labels) to.fillText(...label);
    },
  });

  /** The tiles at a place. */
  function hits(tiles, latlng) {
    const [x, y] = world(latlng.lat, latlng.wrap().lng);
    const inside = (tile) => y >= tile.y0 && y <= tile.y1 && ((x >= tile.x0 && x <= tile.x1) || x + 256 <= tile.x1);
    return tiles.filter(inside);
  }

  function popup(tiles) {
    const list = document.createElement("ul");
    for (const tile of tiles.slice(0, 8)) {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = tile.href;
      link.textContent = tile.name;
      item.append(link, ` ${Number(tile.dates) || 0} dates, newest ${tile.newest ?? "none"}`);
      list.append(item);
    }
    return list;
  }

  /** Finds a tile by the beginning of its name. */
  function finder(map, tiles) {
    const form = document.createElement("form");
    form.setAttribute("role", "search");
    const label = document.createElement("label");
    label.textContent = "Find a tile ";
    const input = document.createElement("input");
    Object.assign(input, { type: "search", placeholder: "33TVN", maxLength: 12, autocomplete: "off", spellcheck: false });
    const button = document.createElement("button");
    button.textContent = "Show";
    label.append(input);
    form.append(label, button);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const wanted = input.value.trim().toUpperCase().replace(/^T(?=\d)/, "");
      const found = wanted ? tiles.filter((tile) => tile.name.startsWith(wanted) || tile.name.startsWith("0" + wanted)) : [];
      note.textContent = found.length ? "" : "No published tile has a name that begins so.";
      if (!found.length) return;
      const [west, south, east, north] = found[0].box;
      const centre = L.latLng((south + north) / 2, (west + (east < west ? east + 360 : east)) / 2);
      map.setView(centre, 8, { animate: false });
      map.openPopup(popup(found), centre);
    });
    figure.before(form);
  }

  /** The rectangle that shows all tiles; the world where they lie on both sides of the antimeridian. */
  function extent(tiles) {
    if (!tiles.length) return [[-60, -170], [75, 170]];
    const side = (i, pick) => tiles.reduce((best, tile) => pick(best, tile.box[i]), tiles[0].box[i]);
    const crossing = tiles.some((tile) => tile.box[2] < tile.box[0]);
    const [west, east] = crossing ? [-180, 180] : [side(0, Math.min), side(2, Math.max)];
    return [[side(1, Math.min), west], [side(3, Math.max), east]];
  }

  function show(list, land) {
    const tiles = list.map(placed);
    const layer = figure.dataset.layer;
    const holder = document.createElement("div");
    holder.className = "leaflet-holder";
    holder.setAttribute("role", "region");
    holder.setAttribute("aria-label", "Map of tiles; the table has them in words");
    figure.querySelector(".still")?.remove();
    figure.prepend(holder);
    figure.hidden = false;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const motion = { fadeAnimation: !still, zoomAnimation: !still, inertia: !still };
    const map = L.map(holder, { ...motion, maxZoom: 12, zoomSnap: 0, worldCopyJump: true, scrollWheelZoom: false, maxBounds: [[-89, -540], [89, 540]] });
    map.attributionControl.setPrefix("Leaflet");
    // Near a single tile, coasts are out of sight.
    map.fitBounds(extent(list), { maxZoom: layer ? 7 : 6, padding: [8, 8] });
    // All tiles are seen at first, at whatever zoom that takes; from there it goes in whole steps, and no further out than
    // that or than the world once.
    map.setMinZoom(Math.min(map.getZoom(), Math.max(1, Math.floor(Math.log2(holder.clientWidth / 256)))));
    map.options.zoomSnap = 1;
    if (layer) {
      const escaped = document.createElement("i");
      escaped.textContent = figure.dataset.attribution;
      L.tileLayer(layer, { attribution: escaped.innerHTML, maxNativeZoom: Number(figure.dataset.maxZoom) }).addTo(map);
    }
    const drawn = new Drawn({ tiles, land, layer });
    drawn.addTo(map);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.redraw());
    // The wheel scrolls the page until the map is chosen.
    map.on("focus", () => map.scrollWheelZoom.enable());
    map.on("blur", () => map.scrollWheelZoom.disable());
    map.on("mousemove", (event) => { holder.style.cursor = hits(tiles, event.latlng).length ? "pointer" : ""; });
    map.on("click", (event) => {
      const found = hits(tiles, event.latlng);
      if (found.length) map.openPopup(popup(found), event.latlng);
    });
    finder(map, tiles);
  }

  async function text(address) {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.text();
  }

  async function start() {
    // A page that was opened from disk may read no other file. Land is an ornament; the list of tiles is not.
    const land = text(figure.dataset.land).then(rings).catch(() => []);
    if (!figure.dataset.tiles) return show(fromTable(), await land);
    let list;
    try {
      list = fromList(JSON.parse(await text(figure.dataset.tiles)));
    } catch {
      note.textContent = location.protocol === "file:"
        ? "The map needs a web server: a page opened from disk may not read the list of tiles. The table below is complete."
        : "The list of tiles could not be read, so the map shows zones only. The table below is complete.";
      return undefined;
    }
    return show(list, await land);
  }

  start();
})();
