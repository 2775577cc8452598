// FavCRM's tools on the TypeScript SDK 2.x: typescript_2.mjs dual|modern|stdio-dual|stdio-modern

import { toNodeHandler } from "@modelcontextprotocol/node";
import { createMcpHandler, ProtocolError, Server } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";

import { forward, serve } from "./forward.mjs";

function makeServer() {
  const server = new Server({ name: "favcrm-peer", version: "1" }, { capabilities: { tools: {} } });
  for (const method of ["tools/list", "tools/call"]) {
    server.setRequestHandler(method, async (request, context) => {
      const authorization = context.http?.req?.headers.get("authorization") ?? undefined;
      const { result, error } = await forward(request.method, request.params, authorization);
      if (error) throw new ProtocolError(error.code, error.message, error.data);
      return result;
    });
  }
  return server;
}

const [channel, era] = process.argv[2].startsWith("stdio-")
  ? process.argv[2].split("-")
  : ["http", process.argv[2]];
const options = era === "modern" ? { legacy: "reject" } : {};
if (channel === "stdio") {
  serveStdio(makeServer, options);
} else {
  serve(toNodeHandler(createMcpHandler(makeServer, options)));
}
