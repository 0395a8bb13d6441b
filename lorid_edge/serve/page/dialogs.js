/* The dialogs: history, packs and the token. */

import * as history from "./history.js";
import { typeset } from "./typeset.js";

const element = (id) => document.getElementById(id);

/** Let every dialog be closed by its button or by a click beside it. Escape closes it anyway. */
export function connectDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }
}

/** Open the history; `show` is called with the solution that is chosen. */
export function openHistory(show) {
  drawHistory(show);
  element("history-dialog").showModal();
}

function drawHistory(show) {
  const entries = history.entries();
  element("history-note").textContent = entries.length
    ? `Kept in this browser, on this device${history.isLasting() ? "" : ", until the page is closed"}.`
    : "Problems that you solve are kept here, in this browser, on this device.";
  element("history-clear").hidden = entries.length === 0;
  element("history-clear").onclick = () => {
    history.clear();
    drawHistory(show);
    focusClose("history-dialog");
  };
  element("history-list").replaceChildren(...entries.map((entry) => historyNode(entry, show)));
}

/** Draw the history again if it is open. */
export function refreshHistory(show) {
  if (element("history-dialog").open) drawHistory(show);
}

function historyNode({ id, at, solution }, show) {
  const node = document.createElement("li");
  const open = document.createElement("button");
  open.type = "button";
  open.className = "entry";
  const question = document.createElement("span");
  question.className = "question";
  typeset(question, solution.question);
  const line = document.createElement("span");
  line.className = "small";
  const when = new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  line.textContent = `${solution.answer ?? "no answer"} (${solution.status}), ${when}`;
  open.append(question, line);
  open.addEventListener("click", () => {
    element("history-dialog").close();
    show(solution);
  });
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "quiet remove";
  remove.textContent = "Remove";
  remove.setAttribute("aria-label", `Remove: ${solution.question.slice(0, 60)}`);
  remove.addEventListener("click", () => {
    history.remove(id);
    drawHistory(show);
    focusClose("history-dialog"); // the button that had the focus is gone
  });
  node.append(open, remove);
  return node;
}

function focusClose(dialog) {
  element(dialog).querySelector(".close").focus();
}

/** Open the packs with what `fetchPacks` gives; `explain` puts an error into words. */
export async function openPacks(fetchPacks, explain) {
  element("packs-dialog").showModal();
  const note = element("packs-note");
  try {
    const packs = await fetchPacks();
    note.hidden = true;
    element("packs-list").replaceChildren(...packs.map(packNode));
  } catch (error) {
    const { title, advice } = explain(error);
    note.textContent = `${title} ${advice}`;
    note.hidden = false;
  }
}

function packNode({ name, description, present, loaded }) {
  const node = document.createElement("li");
  const head = document.createElement("p");
  head.className = "pack-name";
  head.textContent = name;
  const state = document.createElement("span");
  state.className = loaded ? "state loaded" : "state";
  state.textContent = loaded ? "in use" : present ? "on this device" : "not fetched";
  head.append(" ", state);
  const text = document.createElement("p");
  text.className = "small";
  text.textContent = description;
  node.append(head, text);
  if (!present) {
    const command = document.createElement("code");
    command.textContent = `lorid-edge packs pull ${name}`;
    node.append(command);
  }
  return node;
}

/** Ask for the token; `use` is called with what was given. */
export function askForToken(use) {
  const dialog = element("token-dialog");
  if (dialog.open) return;
  element("token").value = "";
  element("token-form").onsubmit = () => use(tokenOf(element("token").value));
  dialog.showModal();
  element("token").focus();
}

/** The token itself, where someone pasted the whole address. */
function tokenOf(text) {
  return text.trim().replace(/^.*#token=/, "");
}
