// What the pages do in the browser beside htmx: tell the zone, copy, and say
// when the connection is gone. All of them work without it.
"use strict";
(() => {
  const root = document.documentElement;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (root.dataset.zone && zone && root.dataset.zone !== zone) {
    const cookie = "tz=" + encodeURIComponent(zone);
    const told = document.cookie.split("; ").includes(cookie);
    document.cookie = cookie + "; Max-Age=31536000; SameSite=Lax; Path=" + root.dataset.base + (location.protocol === "https:" ? "; Secure" : "");
    // Once only: a server that does not know the zone shows UTC.
    if (!told && document.cookie.split("; ").includes(cookie)) location.reload();
  }

  const show = () => {
    if (navigator.clipboard) document.querySelectorAll("button[data-copy][hidden]").forEach(b => { b.hidden = false; });
  };
  show();
  document.addEventListener("htmx:after:swap", show);
  document.addEventListener("click", async event => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    const word = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = word; }, 2000);
  });

  const offline = document.querySelector(".offline");
  document.addEventListener("htmx:error", () => { offline.hidden = false; });
  document.addEventListener("htmx:response:error", () => { offline.hidden = false; });
  document.addEventListener("htmx:after:swap", () => { offline.hidden = true; });
})();
