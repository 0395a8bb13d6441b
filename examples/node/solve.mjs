// Solves one problem and shows the work:
//
//     node examples/node/solve.mjs --pack small "What is 3/4 of 120?"
//
// The answer goes to standard output, the work to standard error. Ctrl-C cancels.

import { parseArgs } from "node:util";

import { LoridEdge } from "./lorid_edge.mjs";

const { values, positionals } = parseArgs({
  options: {
    pack: { type: "string", default: "standard" },
    command: { type: "string", default: "lorid-edge" },
  },
  allowPositionals: true,
});

const cancelling = new AbortController();
process.once("SIGINT", () => cancelling.abort());

function show(name, data) {
  if (name === "sample_finished") {
    const { role, index, answer, finish, text } = data.sample;
    console.error(`--- ${role} ${index + 1}: ${answer ?? finish}\n${text.trim()}\n`);
  } else if (name === "agreement") {
    console.error(`Both reasoners say ${data.answer}.\n`);
  }
}

const solver = new LoridEdge(values);
try {
  const question = positionals.join(" ");
  const solution = await solver.solve(question, { onEvent: show, signal: cancelling.signal });
  console.log(solution.answer ?? "no answer");
  console.error(`${solution.status}, confidence ${solution.confidence.toFixed(2)}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await solver.shutdown().catch(() => {});
}
