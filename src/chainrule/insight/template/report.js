"use strict";
// Texts of marks appear at once beside the pointer; without this script the browser shows them itself, later.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);
  const textOf = (mark) => {
    const title = mark.querySelector(":scope > title");
    if (title) {
      mark.dataset.hint = title.textContent;
      mark.setAttribute("aria-label", title.textContent);
      title.remove();
    } else if (mark.title) {
      mark.dataset.hint = mark.title;
      mark.setAttribute("aria-label", mark.title);
      mark.removeAttribute("title");
    }
    return mark.dataset.hint;
  };
  const place = (x, y) => {
    const width = tip.offsetWidth, height = tip.offsetHeight, edge = document.documentElement.clientWidth;
    tip.style.left = `${Math.max(4, Math.min(x + 14, edge - width - 6))}px`;
    tip.style.top = `${y - height - 12 > 4 ? y - height - 12 : y + 18}px`;
  };
  const show = (event) => {
    const mark = event.target.closest ? event.target.closest("[title], [data-hint], .hint, .bar") : null;
    const text = mark ? textOf(mark) : "";
    tip.hidden = !text;
    if (text) {
      tip.textContent = text;
      place(event.clientX, event.clientY);
    }
  };
  document.addEventListener("pointermove", show, { passive: true });
  document.addEventListener("pointerdown", show, { passive: true });
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });
  document.addEventListener("pointerleave", () => { tip.hidden = true; });
  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not(.long)")) part.open = true;
  });
})();
