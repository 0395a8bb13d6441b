/* What the page says: how an answer came about, what it cost, what went wrong and what to do. */

import { DEEP, INTUITIVE, KNOWLEDGE } from "./board.js";

export const ROLE_NAMES = {
  [INTUITIVE]: "Intuitive reasoner",
  [KNOWLEDGE]: "Knowledge",
  [DEEP]: "Deep reasoner",
};

/** How an answer came about, in a few words. */
export function statusWords({ status, answer }) {
  if (answer === null) return "No answer was found. Try another seed, or more time.";
  if (status === "agreed") return "Both reasoners agree";
  if (status === "voted") return "Decided by vote";
  return "Undecided: the best answer so far";
}

export function percent(share) {
  return `${Math.round(100 * share)} %`;
}

export function count(number, thing) {
  return `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
}

export function seconds(value) {
  return `${value.toFixed(1)} s`;
}

/** What a sample came to: {text, kind}, with kind running, answered, cancelled or nothing. */
export function outcome(row, isOver) {
  const { sample } = row;
  if (sample === null) {
    return isOver ? { text: "stopped", kind: "cancelled" } : { text: "writing", kind: "running" };
  }
  if (sample.finish === "cancelled") return { text: "not needed any more", kind: "cancelled" };
  const atLimit = sample.finish === "length";
  if (sample.answer !== null) {
    return atLimit
      ? { text: `${sample.answer} (too long, no vote)`, kind: "nothing" }
      : { text: sample.answer, kind: "answered" };
  }
  if (row.role === KNOWLEDGE) return { text: "written", kind: "nothing" };
  return { text: atLimit ? "no answer (too long)" : "no answer", kind: "nothing" };
}

/** What a screen reader says of an event; null for those that would only be noise. */
export function announcement(name, data) {
  if (name === "agreement") return `Both reasoners say ${data.answer}.`;
  if (name === "solved") {
    const { answer, confidence, tokens, seconds: times } = data.solution;
    const lead = answer === null ? "" : `Answer ${answer}. `;
    const cost = `${count(tokens.generated, "token")}, ${times.total.toFixed(1)} seconds`;
    return `${lead}${statusWords(data.solution)}. Confidence ${percent(confidence)}, ${cost}.`;
  }
  if (name !== "sample_finished" || data.sample.finish === "cancelled") return null;
  const { role, index, answer } = data.sample;
  if (role === KNOWLEDGE) return `Knowledge ${index + 1} is written.`;
  return `${ROLE_NAMES[role]} ${index + 1}: ${answer ?? "no answer"}.`;
}

/** What went wrong and what to do: {title, advice, action}; action is retry, token or null. */
export function explain(error) {
  if (error.type === "unreachable") {
    return {
      title: "The server does not answer.",
      advice: "Is lorid-edge serve still running? Start it again and open the address it prints.",
      action: "retry",
    };
  }
  if (error.type === "interrupted") {
    return {
      title: "The connection broke off before the answer came.",
      advice: "See what lorid-edge serve says in its terminal, then try again.",
      action: "retry",
    };
  }
  if (error.status === 401) {
    return {
      title: "The server does not accept the token.",
      advice: "It makes a new one at every start. Open the address that it printed last.",
      action: "token",
    };
  }
  if (error.status === 429) {
    const wait = error.retryAfterSeconds;
    return {
      title: "The server is busy with other problems.",
      advice: wait === null ? "Try again in a moment." : `Try again in ${count(wait, "second")}.`,
      action: "retry",
    };
  }
  return {
    title: "This did not work.",
    advice: error.message || "See what lorid-edge serve says in its terminal.",
    action: error.status >= 400 && error.status < 500 ? null : "retry",
  };
}
