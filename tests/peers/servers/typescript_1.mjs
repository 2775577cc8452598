// FavCRM's tools on the TypeScript SDK 1.x: typescript_1.mjs stateful|stateless

import { randomUUID } from "node:crypto";

import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
  CallToolRequestSchema,
  isInitializeRequest,
  ListToolsRequestSchema,
  McpError,
} from "@modelcontextprotocol/sdk/types.js";

import { forward, readBody, serve } from "./forward.mjs";

function makeServer() {
  const server = new Server({ name: "favcrm-peer", version: "1" }, { capabilities: { tools: {} } });
  for (const schema of [ListToolsRequestSchema, CallToolRequestSchema]) {
    server.setRequestHandler(schema, async (request, { requestInfo }) => {
      const { result, error } = await forward(request.method, request.params, requestInfo?.headers.authorization);
      if (error) throw new McpError(error.code, error.message, error.data);
      return result;
    });
  }
  return server;
}

const sessions = new Map();

// As in the SDK's own examples: an unknown session is answered with 400, not 404.
async function stateful(request, response) {
  const body = await readBody(request);
  let transport = sessions.get(request.headers["mcp-session-id"]);
  if (!transport && isInitializeRequest(body)) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => sessions.set(id, transport),
      onsessionclosed: (id) => sessions.delete(id),
    });
    await makeServer().connect(transport);
  }
  if (!transport) {
    const error = { code: -32000, message: "Bad Request: No valid session ID provided" };
    response.writeHead(400, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ jsonrpc: "2.0", error, id: null }));
    return;
  }
  await transport.handleRequest(request, response, body);
}

async function stateless(request, response) {
  if (request.method !== "POST") {
    response.writeHead(405).end();
    return;
  }
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  await makeServer().connect(transport);
  await transport.handleRequest(request, response, await readBody(request));
}

serve({ stateful, stateless }[process.argv[2]]);
