"""The protocol (MCP over JSON-RPC), without input or output."""
