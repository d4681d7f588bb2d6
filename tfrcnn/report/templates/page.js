"use strict";

// A gallery shows the pictures that have one item which agrees with every chosen filter.
for (const gallery of document.querySelectorAll(".gallery")) {
  const form = gallery.querySelector("form");
  if (!form) continue;
  const status = gallery.querySelector(".shown");
  const pictures = [...gallery.querySelectorAll("li")].map((element) => ({
    element,
    items: element.dataset.items.split(" ").map((item) => item.split("|")),
  }));
  const update = () => {
    const wanted = [...form.querySelectorAll("select")].filter((select) => select.value !== "");
    let shown = 0;
    for (const { element, items } of pictures) {
      const agrees = (item) => wanted.every((select) => item[Number(select.dataset.place)] === select.value);
      element.hidden = !items.some(agrees);
      shown += element.hidden ? 0 : 1;
    }
    status.textContent = `${shown.toLocaleString("en")} of ${pictures.length.toLocaleString("en")} pictures`;
  };
  form.addEventListener("change", update);
  form.addEventListener("reset", (event) => {
    event.preventDefault(); // the browser empties the fields after this event, too late for `update`
    for (const select of form.querySelectorAll("select")) select.value = "";
    update();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  update(); // a browser may keep the fields of an earlier visit
}

// The curves of one class, and what a threshold gives.
const curves = document.querySelector("form.curves");
if (curves) {
  const { class: choice, threshold, reading } = curves.elements;
  const percent = (text) => (text === "" || text === undefined ? "-" : `${(100 * Number(text)).toFixed(1)} %`);
  const read = () => {
    const group = document.querySelector(`[data-values][data-series="${choice.value}"]`);
    const values = group.dataset.values.split(";").map((line) => line.split(","));
    const place = Math.round(100 * Number(threshold.value));
    const [precision, recall, f1] = values.map((line) => percent(line[place]));
    reading.textContent = `above ${Number(threshold.value).toFixed(2)}: precision ${precision}, recall ${recall}, F1 ${f1}`;
    const cursor = group.ownerSVGElement.querySelector(".cursor");
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, 500 * Number(threshold.value));
  };
  const choose = () => {
    for (const group of document.querySelectorAll("[data-series]")) {
      group.classList.toggle("off", group.dataset.series !== choice.value);
    }
    const { best } = choice.selectedOptions[0].dataset;
    if (best !== undefined) threshold.value = best;
    read();
  };
  choice.addEventListener("change", choose);
  threshold.addEventListener("input", read);
  curves.addEventListener("submit", (event) => event.preventDefault());
  choose();
}

// A table is sorted by the column of the heading that is clicked: first descending, text ascending.
for (const button of document.querySelectorAll(".sortable .sort")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement;
    const column = heading.cellIndex;
    const text = column === 0;
    const ascending = heading.getAttribute("aria-sort") === "descending" || (text && !heading.hasAttribute("aria-sort"));
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const body = heading.closest("table").tBodies[0];
    const compare = (a, b) => text
      ? a.cells[0].textContent.localeCompare(b.cells[0].textContent)
      : Number(a.cells[column].dataset.value) - Number(b.cells[column].dataset.value);
    const rows = [...body.rows].sort((a, b) => (ascending ? compare(a, b) : compare(b, a)));
    body.append(...rows);
  });
}

const dialog = document.getElementById("zoom");
document.addEventListener("click", (event) => {
  const button = event.target.closest(".zoom");
  if (button) {
    const picture = button.querySelector("img");
    const large = dialog.querySelector("img");
    large.src = picture.src;
    large.alt = picture.alt;
    dialog.querySelector("p").textContent = button.parentElement.querySelector("figcaption").textContent;
    dialog.showModal();
  } else if (event.target === dialog || event.target.closest("#zoom button")) {
    dialog.close();
  }
});
