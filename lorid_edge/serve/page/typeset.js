/* Text of people and models, with its formulas typeset by KaTeX.

   Text only ever becomes text nodes. KaTeX builds its nodes itself, trusts no command that links
   or loads anything, and a formula that it does not know stays as it was written. */

const BRACES = String.raw`\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}`;
const NUMBER = String.raw`\$?\d+(?:,\d{3})*(?:\.\d+)?%?`;
const OPERAND = String.raw`(?:\(*-?${NUMBER}(?:[a-z](?![A-Za-z]))?\)*|\(*(?<![A-Za-z])[a-z](?![A-Za-z])\)*)`;
// A minus sign needs spaces: 10-15 is a range, 2026-11-24 a date. So does a division by a word.
const OPERATOR = String.raw`(?:\s*[*×÷/^=+]\s*|\s+[-−]\s+)`;

const FORMULA = new RegExp(
  [
    String.raw`\$\$(?<display>[^$]+)\$\$`,
    String.raw`\\\[(?<bracket>[\s\S]+?)\\\]`,
    String.raw`\\\((?<inline>[\s\S]+?)\\\)`,
    String.raw`(?<![\\\w$])\$(?=[^\s$])(?<dollar>[^$\n]*[^\s$\\])\$(?![\w$])`,
    String.raw`(?<bare>\\(?:boxed|[dt]?frac|sqrt|binom)(?:\[[^\]]*\])?(?:${BRACES}){1,2})`,
    String.raw`(?<![\w.,])(?<arithmetic>${OPERAND}(?:${OPERATOR}${OPERAND})+)(?![\w^])`,
  ].join("|"),
  "g",
);

const DISPLAYED = /\\\[[\s\S]+?\\\]|\$\$[^$]+\$\$/g;

const LONGEST_UNBROKEN = 24; // characters of a formula that fit a line on any screen
const MOST_RENDERED = 500;
const rendered = new Map(); // a text that grows is typeset many times, with the same formulas

/** The pieces of a text: {text}, or {tex, isDisplay, written} for a formula. */
export function pieces(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(FORMULA)) {
    const formula = formulaOf(match);
    if (formula === null) continue;
    if (match.index > end) found.push({ text: text.slice(end, match.index) });
    found.push({ ...formula, written: match[0] });
    end = match.index + match[0].length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}

function formulaOf({ groups }) {
  const { display, bracket, inline, dollar, bare, arithmetic } = groups;
  if (display ?? bracket) return { tex: display ?? bracket, isDisplay: true };
  if (dollar !== undefined && !looksLikeFormula(dollar)) return null;
  if (arithmetic !== undefined) {
    return /\d/.test(arithmetic) ? { tex: texOfArithmetic(arithmetic), isDisplay: false } : null;
  }
  return { tex: inline ?? dollar ?? bare, isDisplay: false };
}

/** Whether what stands between two dollar signs is a formula, and not prices with words between. */
function looksLikeFormula(text) {
  return /[\\^_={}]/.test(text) || !/[A-Za-z]{2}/.test(text);
}

function texOfArithmetic(text) {
  return text
    .replace(/[$%]/g, String.raw`\$&`)
    .replace(/,/g, "{,}")
    .replace(/\s*[*×]\s*/g, String.raw` \times `)
    .replace(/÷/g, String.raw`\div `)
    .replace(/−/g, "-")
    .replace(/\^\s*(\d+)/g, "^{$1}");
}

/** Put `text` into `element`, replacing what is there. */
export function typeset(element, text) {
  const nodes = [];
  let rest = pieces(text);
  while (rest.length) {
    const [piece, ...others] = rest;
    rest = others;
    const node = nodeOf(piece);
    if (piece.tex === undefined || piece.written.length > LONGEST_UNBROKEN) {
      nodes.push(node);
      continue;
    }
    // A line may begin neither within a short formula nor with the full stop behind it.
    const [stop] = /^[.,;:!?)]*/.exec(others[0]?.text ?? "");
    const unbroken = document.createElement("span");
    unbroken.className = "unbroken";
    unbroken.append(node, stop);
    nodes.push(unbroken);
    if (stop) rest = [{ text: others[0].text.slice(stop.length) }, ...others.slice(1)];
  }
  element.replaceChildren(...nodes);
}

/** As `typeset`, with a paragraph a line and lists where lines begin with a dash or a number. */
export function typesetBlocks(element, text) {
  const blocks = [];
  for (const line of text.replace(DISPLAYED, (written) => written.replaceAll("\n", " ")).split("\n")) {
    const item = /^\s*([-*•]|\d+[.)])\s+(.*)$/.exec(line);
    if (item) {
      const list = /\d/.test(item[1]) ? "OL" : "UL";
      if (blocks.at(-1)?.tagName !== list) blocks.push(document.createElement(list));
      const node = document.createElement("li");
      if (list === "OL") node.value = Number.parseInt(item[1], 10);
      typeset(node, item[2]);
      blocks.at(-1).append(node);
    } else if (line.trim()) {
      const node = document.createElement("p");
      typeset(node, line.trim());
      blocks.push(node);
    }
  }
  element.replaceChildren(...blocks);
}

/** Put an answer into `element`: a value as it was normalised, LaTeX where it is that. */
export function typesetAnswer(element, answer) {
  const isLatex = /[\\^_]/.test(answer);
  element.replaceChildren(isLatex ? nodeOf({ tex: answer, written: answer }) : answer);
}

function nodeOf({ text, tex, isDisplay = false, written }) {
  if (text !== undefined) return document.createTextNode(text);
  const key = `${isDisplay} ${tex}`;
  if (!rendered.has(key)) {
    if (rendered.size >= MOST_RENDERED) rendered.clear();
    rendered.set(key, render(tex, isDisplay));
  }
  return rendered.get(key)?.cloneNode(true) ?? document.createTextNode(written);
}

/** The formula as an element; null if KaTeX cannot read it. */
function render(tex, isDisplay) {
  const node = document.createElement("span");
  node.className = isDisplay ? "formula display" : "formula";
  try {
    globalThis.katex.render(tex, node, {
      displayMode: isDisplay, trust: false, strict: "ignore", maxSize: 8, maxExpand: 200,
    });
  } catch {
    return null;
  }
  return node;
}
