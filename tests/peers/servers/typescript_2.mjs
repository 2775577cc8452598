// FavCRM's tools on the TypeScript SDK 2.x: typescript_2.mjs dual|modern

import { toNodeHandler } from "@modelcontextprotocol/node";
import { createMcpHandler, ProtocolError, Server } from "@modelcontextprotocol/server";

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

const options = process.argv[2] === "modern" ? { legacy: "reject" } : {};
serve(toNodeHandler(createMcpHandler(makeServer, options)));
