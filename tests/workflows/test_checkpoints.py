"""A result of a tool goes into a checkpoint of LangGraph and comes back, its secret masked."""

from __future__ import annotations

import importlib
from typing import Any

from favcrm import Secret, ToolResult

TOKEN = "not-a-real-token-6789"


def test_a_tool_result_is_kept_in_a_checkpoint_with_its_secret_masked() -> None:
    # Imported by name, since LangGraph is installed for this session alone.
    serde: Any = importlib.import_module("langgraph.checkpoint.serde.jsonplus")
    serializer = serde.JsonPlusSerializer(allowed_msgpack_modules=[("favcrm.results", "ToolResult")])
    result = ToolResult(data={"token": Secret(TOKEN), "n": [1, None]}, summary="Done.", raw={"n": 1})
    kind, written = serializer.dumps_typed({"result": result})
    assert TOKEN.encode() not in written
    kept = serializer.loads_typed((kind, written))["result"]
    assert kept == ToolResult(data={"token": "...6789", "n": [1, None]}, summary="Done.", raw={"n": 1})
