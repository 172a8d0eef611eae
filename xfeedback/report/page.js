"use strict";
for (const head of document.querySelectorAll(".sortable thead th")) {
  const button = document.createElement("button"), table = head.closest("table"), column = head.cellIndex;
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  head.setAttribute("aria-sort", "none");
  const value = (row) => {
    const cell = [...row.cells].some((part) => part.colSpan > 1) && column > 0 ? undefined : row.cells[column];
    const text = cell && (cell.dataset.v || cell.textContent);
    return text === "\u2013" ? undefined : text;
  };
  button.addEventListener("click", () => {
    const before = head.getAttribute("aria-sort");
    const up = before === "descending" || (before === "none" && !head.matches(".num,.verdict"));
    for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
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
