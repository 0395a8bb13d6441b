// A client of `lorid-edge serve --stdio`: JSON-RPC 2.0, one message a line. No dependencies.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export class LoridEdge {
  #child;
  #waiting = new Map(); // id -> { resolve, reject, onEvent }
  #lastId = 0;

  /** Start the program. It loads the pack and ends when this process does. */
  constructor({ pack = "standard", command = "lorid-edge" } = {}) {
    const options = { stdio: ["pipe", "pipe", "inherit"] };
    this.#child = spawn(command, ["serve", "--stdio", "--pack", pack], options);
    this.#child.stdin.on("error", () => {}); // it has ended: `close` says so
    this.#child.on("error", (error) => this.#fail(`${command} cannot be started: ${error.message}`));
    this.#child.on("close", (code) => this.#fail(`${command} has ended (exit code ${code}).`));
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#take(line));
  }

  /**
   * Solve a problem. `onEvent(name, data)` is called for every step; aborting `signal` cancels.
   * Returns the solution; rejects with an Error.
   */
  async solve(question, { onEvent = () => {}, signal, ...settings } = {}) {
    signal?.throwIfAborted();
    const id = (this.#lastId += 1);
    const cancel = () => this.call("cancel", { id }).catch(() => {});
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      return await this.#request(id, "solve", { question, ...settings }, onEvent);
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  /** Call any other method of the protocol. */
  call(method, params = {}) {
    return this.#request((this.#lastId += 1), method, params, () => {});
  }

  /** The packs: [{ name, description, present, loaded }]. */
  async packs() {
    return (await this.call("packs")).packs;
  }

  /** End the program when it has answered. */
  shutdown() {
    return this.call("shutdown");
  }

  #request(id, method, params, onEvent) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, onEvent });
      this.#child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    });
  }

  #take(line) {
    const message = JSON.parse(line);
    if (message.method !== undefined) {
      const { id, event, data } = message.params;
      if (message.method === "event") this.#waiting.get(id)?.onEvent(event, data);
      return; // "ready" comes once, when the pack is loaded; requests may be sent before
    }
    const request = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error) request?.reject(new Error(message.error.message));
    else request?.resolve(message.result);
  }

  #fail(reason) {
    for (const { reject } of this.#waiting.values()) reject(new Error(reason));
    this.#waiting.clear();
  }
}
