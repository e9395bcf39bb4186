"use strict";

// "/" goes to the search box, "j" and "k" walk through the results.
const box = document.getElementById("q");
const titles = [...document.querySelectorAll(".hits h2 a")];

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const place = titles.indexOf(document.activeElement);
  if (event.key === "/") {
    event.preventDefault();
    box.focus();
    box.select();
  } else if (event.key === "j" && titles.length) {
    titles[Math.min(place + 1, titles.length - 1)].focus();
  } else if (event.key === "k" && titles.length) {
    titles[Math.max(place - 1, 0)].focus();
  }
});
