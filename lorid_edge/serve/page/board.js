/* What is known of a problem while it is solved: the state behind the page. No DOM in here. */

export const INTUITIVE = "intuitive_reasoner";
export const KNOWLEDGE = "knowledge_generator";
export const DEEP = "deep_reasoner";
export const ROLES = [INTUITIVE, KNOWLEDGE, DEEP];

/** Whether two answers are written alike or are the same number, as 1/2 and 0.5 are. */
export function isSameAnswer(first, second) {
  return first === second || number(first) === number(second);
}

/* NaN, which equals nothing, for what is no number, or one too long to be told from others. */
function number(answer) {
  if (!/^(?=.{1,15}$)-?\d+(\.\d+|\/[1-9]\d*)?$/.test(answer)) return NaN;
  const [numerator, denominator = 1] = answer.split("/").map(Number);
  return numerator / denominator;
}

export class Board {
  constructor(question) {
    this.question = question;
    this.rows = Object.fromEntries(ROLES.map((role) => [role, []]));
    this.agreed = null;
    this.round = 1;
    this.tokens = 0;
    this.calculated = 0;
    this.solution = null;
    this.beganAt = performance.now();
    this.endedAt = null;
  }

  /** The board of a problem that was solved earlier. */
  static ofSolution(solution) {
    const board = new Board(solution.question);
    for (const sample of solution.samples) {
      board.take("role_started", sample);
      board.take("sample_finished", { sample });
    }
    board.take("solved", { solution });
    return board;
  }

  /** Note an event of the server. Names that are not known are passed over. */
  take(name, data) {
    if (name === "role_started") this.#start(data);
    else if (name === "text_added") this.#add(data);
    else if (name === "calculator_result") this.#calculate(data);
    else if (name === "sample_finished") this.#finish(data.sample);
    else if (name === "agreement") this.agreed = data.answer;
    else if (name === "solved") this.#solve(data.solution);
  }

  /** The problem is not worked on any more, solved or not. */
  end() {
    this.endedAt ??= performance.now();
  }

  get seconds() {
    if (this.solution) return this.solution.seconds.total;
    return ((this.endedAt ?? performance.now()) - this.beganAt) / 1000;
  }

  get isOver() {
    return this.endedAt !== null;
  }

  /** The answers so far with who gave them, most frequent first: [{answer, intuitive, deep}]. */
  votes() {
    const votes = [];
    for (const role of [INTUITIVE, DEEP]) {
      for (const row of this.rows[role]) {
        const { answer = null, finish } = row?.sample ?? {};
        if (answer === null || finish === "length") continue; // it had to be asked for: no vote
        let vote = votes.find((other) => isSameAnswer(other.answer, answer));
        if (!vote) votes.push((vote = { answer, intuitive: 0, deep: 0 }));
        vote[role === DEEP ? "deep" : "intuitive"] += 1;
      }
    }
    return votes.sort((a, b) => b.intuitive + b.deep - a.intuitive - a.deep);
  }

  #row(role, index) {
    return (this.rows[role][index] ??= {
      role, index, round: this.round, text: "", calculated: 0, sample: null, isChanged: true,
    });
  }

  #start({ role, round, index }) {
    this.#row(role, index).round = round;
    this.round = Math.max(this.round, round);
  }

  #add({ role, index, text }) {
    const row = this.#row(role, index);
    row.text += text;
    row.isChanged = true;
    this.tokens += 1;
  }

  #calculate({ role, index }) {
    this.#row(role, index).calculated += 1;
    this.calculated += 1;
  }

  #finish(sample) {
    const row = this.#row(sample.role, sample.index);
    row.sample = sample;
    row.text = sample.text;
    row.calculated = sample.calculator_results ?? row.calculated;
    row.isChanged = true;
  }

  #solve(solution) {
    this.solution = solution;
    this.tokens = solution.tokens.generated;
    this.round = solution.rounds;
    if (solution.status === "agreed") this.agreed = solution.answer;
    this.end();
  }
}
