/* Solutions kept in this browser. Nothing of it is sent anywhere. */

const KEY = "lorid-edge.history";
const MOST_ENTRIES = 100;

let inMemory = null; // used where the browser forbids storage

/** Whether what is kept outlives this page. */
export function isLasting() {
  return inMemory === null;
}

/** The entries, latest first: [{id, at, solution}], `at` in milliseconds since 1970. */
export function entries() {
  if (inMemory !== null) return inMemory;
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((entry) => entry?.solution?.samples) : [];
  } catch {
    return []; // not what this page wrote: it stays until something new is kept
  }
}

/** Keep a solution. The oldest go where there are too many or the browser has no room. */
export function keep(solution) {
  const entry = { id: `${Date.now()} ${Math.random()}`, at: Date.now(), solution };
  write([entry, ...entries()].slice(0, MOST_ENTRIES));
}

export function remove(id) {
  write(entries().filter((entry) => entry.id !== id));
}

export function clear() {
  write([]);
}

/** Call `react` when another tab has changed the history. */
export function onChangeElsewhere(react) {
  window.addEventListener("storage", (event) => {
    if (event.key === KEY || event.key === null) react();
  });
}

function write(all) {
  for (let number = all.length; ; number = Math.floor(number / 2)) {
    try {
      localStorage.setItem(KEY, JSON.stringify(all.slice(0, number)));
      inMemory = null;
      return;
    } catch {
      if (number === 0) {
        inMemory = all;
        return;
      }
    }
  }
}
