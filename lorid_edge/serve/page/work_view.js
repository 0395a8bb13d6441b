/* The three roles at work: every sample with its text so far and what came of it. */

import { DEEP, INTUITIVE, KNOWLEDGE, ROLES, isSameAnswer } from "./board.js";
import { typesetAnswer, typesetBlocks } from "./typeset.js";
import { count, outcome } from "./words.js";

const SHORT = { [INTUITIVE]: "intuitive", [KNOWLEDGE]: "knowledge", [DEEP]: "deep" };

export class WorkView {
  constructor() {
    this.root = document.getElementById("work");
    this.lists = {};
    this.waiting = {};
    for (const role of ROLES) {
      this.lists[role] = document.getElementById(`${SHORT[role]}-samples`);
      this.waiting[role] = document.getElementById(`${SHORT[role]}-waiting`);
    }
    this.clear();
  }

  clear() {
    this.views = new Map();
    for (const role of ROLES) this.lists[role].replaceChildren();
    this.root.hidden = true;
  }

  /** Draw what has changed since the last time. */
  draw(board) {
    this.root.hidden = false;
    for (const role of ROLES) {
      const rows = board.rows[role].filter(Boolean);
      const open = rowsOfInterest(role, rows, board);
      this.waiting[role].hidden = rows.length > 0;
      this.waiting[role].textContent = whyEmpty(role, board);
      rows.forEach((row, position) => {
        this.#view(row, position).draw(row, board, open.has(row));
      });
    }
  }

  #view(row, position) {
    const key = `${row.role} ${row.index}`;
    if (!this.views.has(key)) {
      const view = new SampleView(row);
      const list = this.lists[row.role];
      this.views.set(key, view);
      list.insertBefore(view.root, list.children[position] ?? null);
    }
    return this.views.get(key);
  }
}

/* One sample: a line that says what came of it, and its text below. It opens and closes by
   itself until the reader does it. */
class SampleView {
  constructor(row) {
    this.root = document.createElement("li");
    this.details = document.createElement("details");
    this.summary = document.createElement("summary");
    this.number = span("number", String(row.index + 1));
    this.outcome = span("outcome", "");
    this.remark = span("remark", "");
    this.text = document.createElement("div");
    this.text.className = "text";
    this.summary.append(this.number, this.outcome, this.remark);
    this.details.append(this.summary, this.text);
    this.root.append(this.details);
    this.isChosen = false;
    this.drawn = "";
    this.summary.addEventListener("click", () => {
      this.isChosen = true;
    });
  }

  draw(row, board, isOfInterest) {
    const { text, kind } = outcome(row, board.isOver);
    const isWinner = kind === "answered" && isSameAnswer(text, winner(board));
    const state = `${kind} ${text} ${isWinner} ${isOfInterest}`;
    if (state !== this.drawn) {
      this.drawn = state;
      this.root.className = `sample ${kind}${isWinner ? " winner" : ""}`;
      if (kind === "answered") typesetAnswer(this.outcome, text);
      else this.outcome.textContent = text;
      if (!this.isChosen) this.details.open = isOfInterest;
    }
    if (!row.isChanged) return;
    row.isChanged = false;
    this.remark.textContent = remark(row);
    typesetBlocks(this.text, row.text);
  }
}

function winner(board) {
  return board.solution ? board.solution.answer : board.agreed;
}

/* What to show open: the latest round while it is worked on; of a solved problem, for each role
   the first sample that led to the answer, or its first. */
function rowsOfInterest(role, rows, board) {
  if (!board.solution) {
    const latest = Math.max(0, ...rows.map((row) => row.round));
    return new Set(rows.filter((row) => row.round === latest && row.sample?.finish !== "cancelled"));
  }
  const reasoned = role === KNOWLEDGE ? board.rows[DEEP] : rows;
  const { answer } = board.solution;
  const decisive = reasoned.find((row) => row?.sample && isSameAnswer(row.sample.answer, answer));
  return new Set([rows.find((row) => row.index === decisive?.index) ?? rows[0]]);
}

function remark(row) {
  const parts = [];
  if (row.round > 1) parts.push(`round ${row.round}`);
  if (row.sample) parts.push(count(row.sample.tokens, "token"));
  if (row.calculated) parts.push(`${row.calculated} calculated`);
  return parts.join(", ");
}

function whyEmpty(role, board) {
  if (board.isOver) return "Was not needed.";
  if (role === DEEP && board.rows[KNOWLEDGE].length) return "Waits for the knowledge.";
  return role === INTUITIVE ? "Not asked yet." : "Asked if intuition alone is not sure enough.";
}

function span(name, text) {
  const node = document.createElement("span");
  node.className = name;
  node.textContent = text;
  return node;
}
