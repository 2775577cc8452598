"""The servers that the SDK is tried against."""

from __future__ import annotations

from peers.processes import Peer

SERVERS = (
    Peer("mcp-2.3", "mcp_2.py", "stateful"),
    Peer("mcp-2.3", "mcp_2.py", "stateless"),
    Peer("mcp-2.3", "mcp_2.py", "json"),
    Peer("mcp-1.28", "mcp_1.py", "stateful"),
    Peer("mcp-1.28", "mcp_1.py", "stateless"),
    Peer("mcp-1.12", "mcp_1.py", "stateful"),
    Peer("mcp-1.12", "mcp_1.py", "stateless"),
    Peer("fastmcp-4", "fastmcp_4.py", "stateful"),
    Peer("typescript", "typescript_1.mjs", "stateful"),
    Peer("typescript", "typescript_1.mjs", "stateless"),
    Peer("typescript", "typescript_2.mjs", "dual"),
    Peer("typescript", "typescript_2.mjs", "modern"),
)
# Their sessions are lost when one of their clients says that it is over.
WITH_SESSIONS = tuple(peer for peer in SERVERS if peer.how in {"stateful", "json"})
# They speak the newest version too, in which nobody begins a session unless it is asked for.
IN_BOTH_ERAS = tuple(peer for peer in SERVERS if peer.home in {"mcp-2.3", "fastmcp-4"})
