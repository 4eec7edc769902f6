// What a page can do beyond being read: buttons that copy code, tables that sort, the calendar, ages of times. Each part
// stands alone; without this file all text is there.
"use strict";

const DAY = 86400000;

function make(tag, attributes, text) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** A button for each piece of code. Where the clipboard is closed to us, the code is selected. */
function copyButtons() {
  for (const snippet of document.querySelectorAll(".snippet")) {
    const code = snippet.querySelector("code");
    const button = make("button", { type: "button", class: "copy", "aria-label": "Copy: " + snippet.querySelector("h3").textContent }, "Copy");
    const said = make("span", { class: "said", role: "status" });
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        said.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        said.textContent = "Selected: copy it with the keyboard";
      }
      setTimeout(() => { said.textContent = ""; }, 4000);
    });
    snippet.querySelector("h3").after(button, said);
  }
}

/** What a cell is sorted by: its number where it begins with one, else its text. */
function sortKey(cell) {
  const text = cell.textContent.trim();
  const number = /^-?[\d,]+(\.\d+)?(?=$|[^\d-])/.exec(text);
  return number ? Number(number[0].replaceAll(",", "")) : text;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? 1 : -1;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Heads of tables become buttons. A second press turns the order round. */
function sortableTables() {
  for (const table of document.querySelectorAll("table[data-sort]")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = make("button", { type: "button", class: "sort" }, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].map((row) => [sortKey(row.cells[column]), row]);
        rows.sort((a, b) => (down ? compare(b[0], a[0]) : compare(a[0], b[0])));
        body.append(...rows.map(([, row]) => row));
      });
    });
  }
}

/** "2026-11-20" becomes "2026-11-20 (9 days ago)": said here, so that a page without news need not be written again. */
function ages() {
  for (const time of document.querySelectorAll("time[data-age]")) {
    const days = Math.floor((Date.now() - Date.parse(time.dateTime)) / DAY);
    if (days < 0 || Number.isNaN(days)) continue;
    const words = days === 0 ? "today" : days === 1 ? "1 day ago" : days.toLocaleString("en") + " days ago";
    time.after(" ", make("span", { class: "age" }, "(" + words + ")"));
  }
}

/** Day of the year, from 1, of a date as it stands in the tables. */
function dayOfYear(date) {
  return Math.round((Date.parse(date) - Date.parse(date.slice(0, 4) + "-01-01")) / DAY) + 1;
}

/** The dates of one year, as its table has them. */
function readYear(details) {
  const rows = [...details.querySelectorAll("tbody tr")];
  return rows.map((row) => {
    const [date, cloud, product, notes] = [...row.cells].map((cell) => cell.textContent.trim());
    const kind = row.className || "date";
    return { row, kind, date, day: dayOfYear(date), cloud: cloud && cloud !== "?" ? Number(cloud) : null, product, notes };
  });
}

function sentence(entry) {
  if (entry.kind === "g") return entry.date + ": " + entry.notes;
  if (entry.kind === "r") return entry.date + ": " + entry.product + ". " + entry.notes;
  const cloud = entry.cloud === null ? "cloud cover not known" : entry.cloud + " % cloud";
  return entry.date + ": " + cloud + ", " + entry.product + (entry.notes ? " (" + entry.notes + ")" : "");
}

/** The date nearest to a day; nothing where none is within five days, unless the day lies in a gap. */
function nearest(entries, day) {
  const dates = entries.filter((entry) => entry.kind !== "g");
  const found = dates.reduce((best, entry) => (!best || Math.abs(entry.day - day) < Math.abs(best.day - day) ? entry : best), null);
  if (found && Math.abs(found.day - day) <= 5) return found;
  return entries.filter((entry) => entry.kind === "g" && entry.day <= day).at(-1) ?? null;
}

/** Tells the date below the pointer or chosen with the arrow keys, and dims what has more cloud than the slider allows. */
function calendar() {
  const box = document.getElementById("calendar");
  if (!box) return;
  const years = [...box.querySelectorAll("details")].map((details) => ({ details, entries: null, svg: details.querySelector("svg") }));
  const entriesOf = (year) => (year.entries ??= readYear(year.details));
  const told = make("p", { class: "told", role: "status" }, "Point at a bar, or choose a year and use the arrow keys left and right.");

  const slider = make("input", { type: "range", min: "0", max: "100", step: "10", value: "100", id: "cloud" });
  const limit = make("output", { for: "cloud" });
  const filter = make("p", { class: "filter" });
  filter.append(make("label", { for: "cloud" }, "Cloud cover below"), slider, limit);
  box.prepend(filter, told);

  let chosen = null;
  function choose(year, entry) {
    if (chosen === entry) return;
    chosen?.row.classList.remove("chosen");
    chosen = entry;
    for (const mark of box.querySelectorAll(".mark")) mark.remove();
    if (!entry) return;
    entry.row.classList.add("chosen");
    told.textContent = sentence(entry);
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "path");
    mark.setAttribute("class", "mark");
    mark.setAttribute("d", "M" + (entry.day - 0.5) + " 0v10");
    year.svg.append(mark);
  }

  for (const year of years) {
    const days = Number(year.details.dataset.days);
    const at = (event) => {
      const place = year.svg.getBoundingClientRect();
      return Math.ceil(((event.clientX - place.left) / place.width) * days);
    };
    year.svg.addEventListener("pointermove", (event) => choose(year, nearest(entriesOf(year), at(event))));
    // A press on a bar opens the year at that date; on an open year it moves there and leaves it open.
    year.svg.addEventListener("click", (event) => {
      choose(year, nearest(entriesOf(year), at(event)));
      if (!chosen) return;
      event.preventDefault();
      year.details.open = true;
      chosen.row.scrollIntoView({ block: "nearest" });
    });
    year.details.querySelector("summary").addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const entries = entriesOf(year);
      const from = entries.indexOf(chosen);
      const next = from < 0 ? (step > 0 ? 0 : entries.length - 1) : from + step;
      if (entries[next]) choose(year, entries[next]);
    });
  }

  function dim() {
    const most = Number(slider.value);
    let within = 0;
    let all = 0;
    for (const year of years) {
      for (let tenth = 0; tenth < 10; tenth += 1) {
        year.svg.querySelector(".c" + tenth)?.classList.toggle("dim", tenth * 10 >= most && most < 100);
      }
      year.svg.querySelector(".cu")?.classList.toggle("dim", most < 100);
      for (const entry of entriesOf(year)) {
        if (entry.kind !== "date") continue;
        const out = most < 100 && (entry.cloud === null || entry.cloud >= most);
        entry.row.classList.toggle("dim", out);
        all += 1;
        within += out ? 0 : 1;
      }
    }
    const dates = within.toLocaleString("en") + " of " + all.toLocaleString("en") + " dates";
    limit.textContent = most === 100 ? "100 %, any: " + all.toLocaleString("en") + " dates" : most + " %: " + dates;
  }
  slider.addEventListener("input", dim);
  dim();
}

copyButtons();
sortableTables();
ages();
calendar();
