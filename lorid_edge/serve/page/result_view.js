/* The answer, how it came about, how sure it is, what it cost, and who said what. */

import { DEEP, INTUITIVE, KNOWLEDGE, isSameAnswer } from "./board.js";
import { pieces, typeset, typesetAnswer } from "./typeset.js";
import { ROLE_NAMES, count, percent, seconds, statusWords } from "./words.js";

const element = (id) => document.getElementById(id);

export class ResultView {
  constructor() {
    this.root = element("result");
    this.clear();
  }

  clear() {
    this.root.hidden = true;
    this.root.classList.remove("solved");
    this.drawnVotes = "";
    element("votes").replaceChildren();
    for (const id of ["confidence", "costs", "asked"]) element(id).hidden = true;
  }

  /** Draw the board: cheap enough for every frame. */
  draw(board) {
    if (this.root.hidden) this.#begin(board);
    this.#drawVotes(board);
    const spent = `${count(board.tokens, "token")}, ${seconds(board.seconds)}`;
    element("cost").textContent = `${count(board.round, "round")}, ${spent}`;
    if (board.solution) this.#finish(board.solution);
    else this.#drawUnsolved(board);
  }

  #begin(board) {
    this.root.hidden = false;
    element("answer").textContent = "…";
    const asked = element("asked");
    asked.hidden = !pieces(board.question).some((piece) => piece.tex !== undefined);
    if (!asked.hidden) typeset(asked, board.question);
  }

  #drawUnsolved(board) {
    const [leading] = board.votes();
    let status = leading ? "Not sure enough yet" : "Working on it";
    if (board.isOver) {
      status = "Stopped before there was an answer";
      element("answer").textContent = "–";
    }
    if (element("status").textContent !== status) element("status").textContent = status;
  }

  #drawVotes(board) {
    const votes = board.votes();
    const state = JSON.stringify([votes, board.solution?.answer ?? board.agreed]);
    if (state === this.drawnVotes) return;
    this.drawnVotes = state;
    const winner = board.solution?.answer ?? board.agreed;
    const nodes = votes.map((vote) => voteNode(vote, isSameAnswer(vote.answer, winner)));
    element("votes").replaceChildren(...nodes);
  }

  #finish(solution) {
    if (this.root.classList.contains("solved")) return;
    this.root.classList.add("solved");
    if (solution.answer === null) element("answer").textContent = "?";
    else typesetAnswer(element("answer"), solution.answer);
    element("answer").classList.toggle("long", (solution.answer ?? "").length > 14);
    element("status").textContent = statusWords(solution);
    element("confidence").hidden = solution.answer === null;
    element("confidence-value").textContent = percent(solution.confidence);
    element("confidence-bar").style.inlineSize = `${100 * solution.confidence}%`;
    element("costs").hidden = false;
    element("cost-list").replaceChildren(...costNodes(solution));
  }
}

function voteNode({ answer, intuitive, deep }, isWinner) {
  const node = document.createElement("li");
  node.className = isWinner ? "vote winner" : "vote";
  const value = document.createElement("span");
  value.className = "value";
  typesetAnswer(value, answer);
  const dots = document.createElement("span");
  dots.className = "dots";
  dots.setAttribute("aria-hidden", "true");
  for (const [number, name] of [[intuitive, "intuitive"], [deep, "deep"]]) {
    for (let position = 0; position < number; position += 1) {
      const dot = document.createElement("i");
      dot.className = name;
      dots.append(dot);
    }
  }
  const who = document.createElement("span");
  who.className = "who";
  const parts = [[intuitive, "intuitive"], [deep, "deep"]].filter(([number]) => number);
  who.textContent = parts.map(([number, name]) => `${number} ${name}`).join(", ");
  node.append(value, dots, who);
  return node;
}

function costNodes({ tokens, seconds: times, pack, policy, seed }) {
  const rows = [
    ["Pack, policy, seed", `${pack}, ${policy}, ${seed}`],
    ["Tokens written", `${count(tokens.generated, "token")}, ${tokens.forced} by the calculator`],
    ["Tokens read", `${count(tokens.prompt, "token")}, and ${tokens.cached} kept from before`],
  ];
  if (times.first_token !== null) rows.push(["First word after", seconds(times.first_token)]);
  for (const role of [INTUITIVE, KNOWLEDGE, DEEP]) {
    if (times[role] > 0) rows.push([ROLE_NAMES[role], seconds(times[role])]);
  }
  return rows.map(([term, description]) => {
    const row = document.createElement("div");
    row.append(document.createElement("dt"), document.createElement("dd"));
    row.firstChild.textContent = term;
    row.lastChild.textContent = description;
    return row;
  });
}
