/* Talks to the server that this page came from: the token, solving, the packs. */

import { readEvents } from "./event_stream.js";

const TOKEN_KEY = "lorid-edge.token";

let token = sessionStorageOrNothing((storage) => storage.getItem(TOKEN_KEY));

/** A request that failed. `status` is 0 where there was no answer at all. */
export class ServerError extends Error {
  constructor(message, { type = "error", status = 0, retryAfterSeconds = null } = {}) {
    super(message);
    this.type = type;
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** The token in the address (`#token=...`) or of this tab. The address is cleared of it. */
export function takeToken() {
  const [, given] = /^#token=(.+)$/.exec(location.hash) ?? []; // as it stands: + and % are its own
  if (given) {
    keepToken(given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return token;
}

/** Use `value` for all requests of this tab. */
export function keepToken(value) {
  token = value;
  sessionStorageOrNothing((storage) => storage.setItem(TOKEN_KEY, value));
}

/** The packs that the server knows: [{name, description, present, loaded}]. */
export async function fetchPacks() {
  const response = await request("v1/packs");
  return (await response.json()).packs;
}

/**
 * Solve one problem and yield its events as {name, data}; `solved` comes last.
 *
 * Aborting `signal` stops the work on the server too. Throws ServerError, and AbortError then.
 */
export async function* solve(problem, signal) {
  const response = await request("v1/solve", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ ...problem, stream: true }),
    signal,
  });
  let isSolved = false;
  try {
    for await (const event of readEvents(response.body)) {
      if (event.name === "error") {
        const { type, message } = event.data.error;
        throw new ServerError(message, { type, status: response.status });
      }
      isSolved ||= event.name === "solved";
      yield event;
    }
  } catch (error) {
    if (error instanceof ServerError || error.name === "AbortError") throw error;
    throw new ServerError("", { type: "interrupted" });
  }
  if (!isSolved) throw new ServerError("", { type: "interrupted" });
}

async function request(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("", { type: "unreachable" });
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  const retryAfter = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const details = {
    status: response.status,
    retryAfterSeconds: Number.isNaN(retryAfter) ? null : retryAfter,
  };
  try {
    const { error } = await response.json();
    return new ServerError(error.message, { ...details, type: error.type });
  } catch {
    return new ServerError("", details);
  }
}

function sessionStorageOrNothing(use) {
  try {
    return use(sessionStorage) ?? null;
  } catch {
    return null; // the browser forbids storage: the token lasts as long as the page
  }
}
