/* The page: what the reader does, and the one problem that is worked on. */

import { Board } from "./board.js";
import { fetchPacks, keepToken, solve, takeToken } from "./client.js";
import { askForToken, connectDialogs, openHistory, openPacks, refreshHistory } from "./dialogs.js";
import * as history from "./history.js";
import { ResultView } from "./result_view.js";
import { typeset } from "./typeset.js";
import { announcement, explain } from "./words.js";
import { WorkView } from "./work_view.js";

const TITLE = document.title;
const MOST_ANNOUNCEMENTS = 12;
const DRAWING_MS = 125; // nothing moves faster or by itself: the model needs the processor
const element = (id) => document.getElementById(id);

const question = element("question");
const result = new ResultView();
const work = new WorkView();
let running = null; // the AbortController of the problem that is worked on
let shown = null; // the board on the page, which may be an earlier problem's

async function start() {
  const text = question.value.trim();
  if (running || !text) return;
  const problem = { question: text, policy: element("policy").value };
  for (const [id, name] of [["seed", "seed"], ["max-seconds", "max_seconds"]]) {
    if (element(id).value !== "") problem[name] = Number(element(id).value);
  }
  const board = new Board(text);
  show(board);
  setRunning(new AbortController());
  announce("Solving.");
  const stopDrawing = drawRepeatedly(board);
  try {
    for await (const { name, data } of solve(problem, running.signal)) {
      board.take(name, data);
      const words = announcement(name, data);
      if (words) announce(words);
    }
    history.keep(board.solution);
    refreshHistory(showSolution);
    document.title = `${board.solution.answer ?? "No answer"} | ${TITLE}`;
  } catch (error) {
    report(error, board);
  } finally {
    board.end();
    stopDrawing();
    setRunning(null);
  }
}

function cancel() {
  running?.abort();
}

function report(error, board) {
  if (error.name === "AbortError") {
    announce("Cancelled.");
    return;
  }
  if (!board.tokens) {
    result.clear();
    work.clear();
    shown = null;
  }
  const { title, advice, action } = explain(error);
  if (action === "token") {
    const solveWithToken = () => askForToken((token) => useToken(token).then(start));
    alertReader(title, advice, "Enter a token", solveWithToken);
    solveWithToken();
  } else {
    alertReader(title, advice, "Try again", action === "retry" ? start : null);
  }
}

/** Begin to show `board` in place of what was shown. */
function show(board) {
  element("alert").hidden = true;
  element("welcome").hidden = true;
  document.title = TITLE;
  result.clear();
  work.clear();
  shown = board;
  draw(board);
}

function showSolution(solution) {
  cancel();
  question.value = solution.question;
  const board = Board.ofSolution(solution);
  show(board);
  announce(announcement("solved", { solution }));
}

function draw(board) {
  if (board !== shown) return;
  result.draw(board);
  work.draw(board);
}

/** Draw again and again until the function that this returns is called. */
function drawRepeatedly(board) {
  const timer = setInterval(draw, DRAWING_MS, board);
  return () => {
    clearInterval(timer);
    draw(board);
  };
}

function setRunning(controller) {
  const hadFocus = [element("solve"), element("cancel")].includes(document.activeElement);
  running = controller;
  const isRunning = controller !== null;
  document.body.classList.toggle("running", isRunning);
  element("solve").hidden = isRunning;
  element("cancel").hidden = !isRunning;
  question.readOnly = isRunning;
  if (hadFocus) element(isRunning ? "cancel" : "solve").focus();
}

function announce(text) {
  const node = document.createElement("p");
  node.textContent = text;
  const announcer = element("announcer");
  announcer.append(node);
  while (announcer.childElementCount > MOST_ANNOUNCEMENTS) announcer.firstChild.remove();
}

/** Say what went wrong and what to do, with a button if `act` is not null. */
function alertReader(title, advice, label, act) {
  const button = element("alert-action");
  element("alert-title").textContent = title;
  element("alert-advice").textContent = advice;
  button.hidden = act === null;
  button.textContent = label;
  button.onclick = act;
  element("alert").hidden = false;
}

async function useToken(token) {
  keepToken(token);
  element("alert").hidden = true;
  await greet();
}

/** Ask for the packs once: it shows at once whether the server is there and takes the token. */
async function greet() {
  try {
    await fetchPacks();
  } catch (error) {
    const { title, advice, action } = explain(error);
    if (action === "token") askForToken(useToken);
    else alertReader(title, advice, "Try again", null);
  }
}

function connect() {
  connectDialogs();
  element("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  // The browser cannot point at what is wrong in options that are closed, and would say nothing.
  element("options").addEventListener("invalid", () => (element("options").open = true), true);
  element("cancel").addEventListener("click", (event) => {
    if (event.detail < 2) cancel(); // the second click of a double click on Solve is not meant
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) cancel();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      element("composer").requestSubmit();
    }
  });
  for (const example of document.querySelectorAll(".example")) {
    const text = example.textContent;
    typeset(example, text);
    example.addEventListener("click", () => {
      question.value = text;
      question.focus();
    });
  }
  element("history-button").addEventListener("click", () => openHistory(showSolution));
  element("packs-button").addEventListener("click", () => openPacks(fetchPacks, explain));
  history.onChangeElsewhere(() => refreshHistory(showSolution));
  window.addEventListener("hashchange", () => {
    if (takeToken()) greet();
  });
}

takeToken();
connect();
greet();
