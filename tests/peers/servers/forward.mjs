// What the TypeScript SDK's servers have in common: FavCRM's tools from a sandbox that a test serves, and a port.

import { createServer } from "node:http";

const upstream = process.env.FAVCRM_UPSTREAM;

// Asks the sandbox with the caller's key, and returns its JSON-RPC answer.
export async function forward(method, params, authorization) {
  const { _meta, ...sent } = params ?? {};
  const answer = await fetch(upstream, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "application/json, text/event-stream",
      ...(authorization && { Authorization: authorization }),
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: sent }),
  });
  return answer.json();
}

// Listens on a free port, and tells the test where.
export function serve(handle) {
  const server = createServer(async (request, response) => {
    try {
      await handle(request, response);
    } catch (error) {
      console.error(error);
      response.writeHead(500).end();
    }
  });
  server.listen(0, "127.0.0.1", () => console.log(`READY http://127.0.0.1:${server.address().port}/mcp`));
}

export async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return chunks.length ? JSON.parse(Buffer.concat(chunks)) : undefined;
}
