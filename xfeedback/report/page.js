"use strict";
for (const button of document.querySelectorAll(".sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = head.closest("table"), column = head.cellIndex;
    const up = head.getAttribute("aria-sort") === "descending" || (column === 0 && head.getAttribute("aria-sort") === "none");
    for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.cells[column] && row.cells[column].dataset.v;
    const order = (a, b) => {
      const x = value(a), y = value(b);
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      const way = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return up ? way : -way;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  });
}
for (const name of document.querySelectorAll(".legend [data-row]")) {
  const drawings = [...name.closest("section").querySelectorAll("svg")];
  const mark = (on) => {
    for (const svg of drawings) {
      svg.classList.toggle("focus", on);
      for (const part of svg.querySelectorAll("[data-row]")) part.classList.toggle("on", on && part.dataset.row === name.dataset.row);
    }
  };
  name.addEventListener("mouseenter", () => mark(true));
  name.addEventListener("mouseleave", () => mark(false));
}
