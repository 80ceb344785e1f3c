"use strict";
/* Live pages. The server says that something changed; the page's parts are asked for again and put in place.
   Without this file every page works by reloading it. */
(() => {
  const root = document.querySelector("[data-stream]");
  if (!root) return;
  const link = document.getElementById("link");
  const frame = document.getElementById("notebook");
  let version = document.getElementById("part-notebook")?.dataset.version;
  let stale = false;
  let busy = false;
  let again = false;

  // Somebody who types or has a form open is not to be disturbed.
  const inUse = (part) =>
    part.querySelector("details.pop[open]") !== null ||
    [...part.querySelectorAll("textarea, input:not([type=hidden])")].some((field) => field.value !== field.defaultValue);

  function put(fresh) {
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const old = document.getElementById(part.id);
      if (!old) continue;
      for (const fold of old.querySelectorAll("details[id]")) {
        const twin = part.querySelector(`#${CSS.escape(fold.id)}`);
        if (twin) twin.open = fold.open;
      }
      tellAges(old);
      tellAges(part);
      if (old.isEqualNode(part) || inUse(old)) continue;
      const focused = old.contains(document.activeElement) ? document.activeElement.closest("[id], a, button") : null;
      const lists = [...old.querySelectorAll(".timeline, .scroll")].map((list) => list.scrollTop);
      old.replaceWith(part);
      part.querySelectorAll(".timeline, .scroll").forEach((list, place) => { list.scrollTop = lists[place] ?? 0; });
      if (focused) {
        const twin = [...part.querySelectorAll(focused.tagName)].find((one) => one.textContent === focused.textContent);
        twin?.focus({ preventScroll: true });
      }
    }
  }

  // The frame is opaque to this page, so its place cannot be kept: it is left alone while somebody reads in it.
  function showNotebook(now) {
    const newer = document.getElementById("newer");
    const bar = document.getElementById("part-notebook");
    if (!bar || bar.dataset.version === version && !stale) return;
    if (!frame) { location.reload(); return; }
    const reading = frame.matches(":hover") || document.activeElement === frame;
    if (reading && !now) {
      stale = true;
      if (newer) newer.hidden = false;
      return;
    }
    stale = false;
    version = bar.dataset.version;
    if (newer) newer.hidden = true;
    frame.src = bar.querySelector("a")?.href ?? frame.src;
  }

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const address = new URL(location.href);
      address.searchParams.set("part", "true");
      const answer = await fetch(address, { headers: { Accept: "text/html" } });
      if (answer.redirected || answer.status === 401) { location.assign("/sign-in"); return; }
      if (!answer.ok) return;
      put(new DOMParser().parseFromString(await answer.text(), "text/html"));
      showNotebook(false);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // the server is away: the stream tries again
    } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  }

  const span = (seconds) =>
    seconds < 60 ? `${Math.floor(seconds)} s`
      : seconds < 600 ? `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`
        : seconds < 3600 ? `${Math.floor(seconds / 60)} min`
          : seconds < 86400 ? `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`
            : `${Math.floor(seconds / 86400)} d ${Math.floor(seconds % 86400 / 3600)} h`;

  function tellAges(place) {
    for (const time of place.querySelectorAll("time[data-age]")) {
      const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
      if (Number.isFinite(seconds)) time.textContent = seconds >= 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
    }
  }
  setInterval(() => tellAges(document), 1000);

  document.addEventListener("click", (event) => {
    if (event.target.id === "newer") showNotebook(true);
    for (const open of document.querySelectorAll("details.pop[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelectorAll("details.pop[open]").forEach((one) => { one.open = false; });
  });
  // A form is sent once, however often a tired hand presses.
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    event.target.dataset.sent = "yes";
    event.target.querySelector("button")?.setAttribute("aria-busy", "true");
  });
  frame?.addEventListener("mouseleave", () => { if (stale) showNotebook(false); });

  const stream = new EventSource(root.dataset.stream);
  stream.addEventListener("changed", refresh);
  stream.addEventListener("open", () => { link.hidden = false; link.className = "link live"; link.textContent = "live"; });
  stream.addEventListener("error", () => {
    link.hidden = false;
    link.className = "link away";
    link.textContent = "not live: trying again";
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  });
  addEventListener("pagehide", () => stream.close());
})();
