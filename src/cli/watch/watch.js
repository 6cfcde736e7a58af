"use strict";
// Replaces the content by that of a newer page, while there is one. The server escapes all text.
let last = "";

function places() {
  return [...document.querySelectorAll(".scroll, .picture")].map((box) => box.scrollLeft);
}

async function update() {
  const offline = document.getElementById("offline");
  try {
    const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(answer.status);
    const text = await answer.text();
    if (text !== last) {
      const page = new DOMParser().parseFromString(text, "text/html");
      const [before, selection] = [places(), getSelection()];
      // Text that someone is copying stays.
      if (selection.isCollapsed) {
        last = text;
        document.title = page.title;
        document.querySelector("main").replaceWith(page.querySelector("main"));
        document.querySelectorAll(".scroll, .picture").forEach((box, index) => {
          box.scrollLeft = before[index] ?? 0;
        });
      }
    }
    offline.hidden = true;
  } catch {
    offline.hidden = false;
  }
  setTimeout(update, document.hidden ? 10000 : 2000);
}

setTimeout(update, 2000);
