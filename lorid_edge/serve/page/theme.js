/* Light or dark, before the first paint. A classic script, so that the page never flashes.

   The system's choice holds until the reader makes another; choosing what the system has
   goes back to following it. */
(() => {
  "use strict";
  const KEY = "lorid-edge.theme";
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function stored() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // the browser forbids storage: the choice lasts as long as the page
    }
  }

  function store(theme) {
    try {
      if (theme === null) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      /* see above */
    }
  }

  function apply(theme) {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    const button = document.getElementById("theme-button");
    if (button) button.setAttribute("aria-pressed", String(isDark()));
  }

  function isDark() {
    return (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  }

  function toggle() {
    const wanted = isDark() ? "light" : "dark";
    const choice = (wanted === "dark") === system.matches ? null : wanted;
    store(choice);
    apply(choice);
  }

  apply(stored());
  system.addEventListener("change", () => apply(stored()));
  window.addEventListener("storage", (event) => {
    if (event.key === KEY) apply(event.newValue);
  });
  document.addEventListener("DOMContentLoaded", () => {
    apply(stored());
    document.getElementById("theme-button").addEventListener("click", toggle);
  });
})();
