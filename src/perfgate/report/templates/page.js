"use strict";
const table = document.getElementById("all"), tools = document.getElementById("tools");
const cases = new Map([...document.querySelectorAll("details > .body")].map(body => [body.id, body.parentNode]));

function open(hash) {
  const found = cases.get(hash.slice(1));
  if (found) { found.hidden = false; found.open = true; found.scrollIntoView(); }
}
addEventListener("hashchange", () => open(location.hash));
for (const link of document.querySelectorAll("a[href^='#c']")) link.addEventListener("click", () => open(link.hash));
open(location.hash);

const scales = { s: 1, ms: 1e-3, us: 1e-6, ns: 1e-9, MB: 1e6, kB: 1e3, B: 1 };
const gravity = ["ok", "improved", "no-baseline", "inconclusive", "invalid", "regressed", "broken"];

/* What a cell sorts by: a verdict's gravity, a change toward worse, a quantity in its base unit, else its text. */
function key(cell) {
  const text = cell.textContent.trim();
  if (gravity.includes(cell.className)) return gravity.indexOf(cell.className);
  if (text === "-") return null;
  if (text.startsWith("no change")) return 0;
  if (text.startsWith(">")) return text.includes("better") ? -Infinity : Infinity;
  const found = text.match(/^(-?(?:[\d,.]+(?:e[+-]\d+)?|inf))(?: (\S+))?(?: (worse|better))?/);
  if (!found) return text;
  const size = found[1].endsWith("inf") ? Infinity : Number(found[1].replaceAll(",", ""));
  return isNaN(size) ? text : (found[3] === "better" ? -size : size) * (scales[found[2]] ?? 1);
}

if (table) {
  const rows = [...table.tBodies[0].rows].map(row => ({
    row, text: (row.cells[0].textContent + " " + row.cells[1].textContent).toLowerCase(),
    verdict: row.cells[2].className, engine: row.className, id: row.querySelector("a").hash.slice(1),
  }));
  const few = document.getElementById("few");

  for (const button of table.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th"), body = table.tBodies[0], column = head.cellIndex;
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => a === null || b === null ? (a === null) - (b === null)
        : (typeof a === "string" || typeof b === "string" ? String(a).localeCompare(b) : a - b) * (down ? -1 : 1);
      const keyed = [...body.rows].map(row => [key(row.cells[column]), row]).sort((a, b) => order(a[0], b[0]));
      body.append(...keyed.map(pair => pair[1]));
    });
  }

  const filter = () => {
    const words = tools.elements.text.value.toLowerCase().split(/\s+/);
    const verdict = tools.elements.verdict.value, engine = tools.elements.engine.value;
    const isOk = one => one.verdict === "ok";
    const seen = new Set();
    let count = 0;
    for (const one of rows) {
      const fits = words.every(word => one.text.includes(word)) && (!engine || one.engine === engine)
        && (!verdict || (verdict === "not-ok" ? !isOk(one) : one.verdict === verdict));
      one.row.hidden = !fits;
      if (fits) { count += 1; seen.add(one.id); }
    }
    const isAll = count === rows.length;
    for (const [id, part] of cases) part.hidden = !isAll && !seen.has(id);
    few.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} metrics`;
  };
  tools.addEventListener("input", filter);
  tools.addEventListener("reset", () => setTimeout(filter));
  tools.addEventListener("submit", event => event.preventDefault());
  tools.elements.unfold.addEventListener("click", () => {
    const parts = [...cases.values()].filter(part => !part.hidden), isOpen = parts.some(part => !part.open);
    for (const part of parts) part.open = isOpen;
    tools.elements.unfold.textContent = isOpen ? "Fold all cases" : "Unfold all cases";
  });
  tools.hidden = false;
  filter();
}
