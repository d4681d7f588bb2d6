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
  form.addEventListener("reset", () => setTimeout(update)); // after the browser has emptied the fields
  form.addEventListener("submit", (event) => event.preventDefault());
  update(); // a browser may keep the fields of an earlier visit
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
