"use strict";
(() => {
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const search = document.getElementById("search");
  const part = document.getElementById("part");
  const count = document.getElementById("count");
  const none = document.getElementById("none");
  const buttons = [...table.tHead.querySelectorAll("button")];
  const rows = [...body.rows];
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = texts.get(row);
      row.hidden = !(words.every((word) => text.includes(word)) && (!part.value || row.dataset.part === part.value));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length} videos`;
    none.hidden = shown > 0;
  }

  // The minus sign of the page is not the one that numbers are read with; a dash is a missing value.
  function valueOf(row, column, kind) {
    const text = row.cells[column].textContent.trim();
    if (kind !== "number") return text === "" ? null : text;
    const value = Number(text.replace("−", "-"));
    return text === "" || Number.isNaN(value) ? null : value;
  }

  function sort(button) {
    const heading = button.parentElement;
    const column = heading.cellIndex;
    const kind = button.dataset.kind;
    const now = heading.getAttribute("aria-sort");
    // Numbers are wanted largest first, names from A.
    const first = kind === "number" ? "descending" : "ascending";
    const order = now ? (now === "ascending" ? "descending" : "ascending") : first;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const values = new Map(rows.map((row) => [row, valueOf(row, column, kind)]));
    rows.sort((one, other) => {
      const a = values.get(one);
      const b = values.get(other);
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (kind === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
    });
    body.append(...rows);
  }

  search.addEventListener("input", filter);
  part.addEventListener("change", filter);
  for (const button of buttons) button.addEventListener("click", () => sort(button));
  document.getElementById("clear").addEventListener("click", () => {
    search.value = part.value = "";
    filter();
    search.focus();
  });

  // A link to a row that the filter hides would lead nowhere.
  function reveal() {
    const row = document.getElementById(location.hash.slice(1));
    if (row && row.hidden) {
      search.value = part.value = "";
      filter();
      row.scrollIntoView();
    }
  }
  addEventListener("hashchange", reveal);
  for (const link of document.querySelectorAll('a[href^="#video-"]')) link.addEventListener("click", reveal);

  // Points of the scatter say which video they are.
  const point = document.getElementById("point");
  for (const link of document.querySelectorAll("#scatter a")) {
    const target = link.getAttribute("xlink:href") || link.getAttribute("href") || "";
    const row = document.getElementById(target.slice(1));
    if (!row) continue;
    const name = row.querySelector(".name").textContent;
    const text = `${name}: MOS ${row.cells[4].textContent}, predicted ${row.cells[5].textContent}`;
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = text;
    link.prepend(title);
    link.addEventListener("mouseenter", () => (point.textContent = text));
  }
  filter();
})();
