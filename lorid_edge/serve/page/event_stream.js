/* Server-sent events out of the body of a fetch. EventSource cannot send a token or a body. */

/** Yield {name, data} for every event of a ReadableStream of bytes; `data` is parsed JSON. */
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return; // what is pending lacks its empty line: it is cut off, not an event
      pending += value;
      // A chunk may end between \r and \n: the last character waits for the next chunk.
      const held = pending.endsWith("\r") ? 1 : 0;
      const text = pending.slice(0, pending.length - held).replaceAll("\r\n", "\n");
      const blocks = text.split("\n\n");
      pending = blocks.pop() + pending.slice(pending.length - held);
      for (const block of blocks) {
        const event = parseEvent(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** One event from its lines; null for a comment, which keeps a connection alive. */
export function parseEvent(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "event") name = value;
    else if (field === "data") data.push(value);
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) } : null;
}
