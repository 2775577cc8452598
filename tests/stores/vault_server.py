"""As much of Vault as the store uses, on loopback: the KV engine of version 2, tokens with policies, faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from attrs import define, field

ROOT = "root"


@define
class Vault:
    """A running server, and what is in it."""

    url: str
    tokens: dict[str, dict[str, list[str]]] = field(factory=lambda: {"root-token": {"": [ROOT]}})
    """For each token: which capabilities it has on the paths that begin so."""
    versions: dict[str, list[dict[str, Any] | None]] = field(factory=dict[str, "list[dict[str, Any] | None]"])
    """For each name: its versions; a None is marked as deleted."""
    mounts: dict[str, dict[str, Any]] = field(
        factory=lambda: {"secret": {"type": "kv", "options": {"version": "2"}}}
    )
    requests: list[tuple[str, str]] = field(factory=list[tuple[str, str]])
    namespaces: set[str | None] = field(factory=set[str | None])
    """What the requests named as their namespace."""
    before: dict[tuple[str, str], Callable[[], Any]] = field(factory=dict[tuple[str, str], Callable[[], Any]])
    """What to do before a request is answered; a tuple of a status and a body is sent in place of an answer."""

    def capabilities(self, token: str, path: str) -> list[str]:
        policy = self.tokens.get(token, {})
        return next((allowed for start, allowed in policy.items() if path.startswith(start)), ["deny"])

    def allows(self, token: str, path: str, capability: str) -> bool:
        return bool({ROOT, capability} & set(self.capabilities(token, path)))

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        self.requests.append((method, path))
        sent = self.before.get((method, path), lambda: None)()
        if isinstance(sent, tuple):
            return sent
        if token not in self.tokens:
            return 403, {"errors": ["permission denied"]}
        if path == "sys/capabilities-self":
            told = {asked: self.capabilities(token, asked) for asked in body["paths"]}
            return 200, {"data": told, **told}
        if path.startswith("sys/internal/ui/mounts/"):
            mount = self.mounts.get(path.removeprefix("sys/internal/ui/mounts/"))
            return (200, {"data": mount}) if mount else (403, {"errors": ["preflight capability check"]})
        engine, kind, name = path.split("/", 2)
        if engine not in self.mounts:
            return 404, {"errors": [f'no handler for route "{path}".']}
        answer: tuple[int, Any] = getattr(self, f"_{kind}_{method.lower()}")(token, path, name, body)
        return answer

    def _data_get(self, token: str, path: str, name: str, _: Any) -> tuple[int, Any]:
        if not self.allows(token, path, "read"):
            return 403, {"errors": ["permission denied"]}
        versions = self.versions.get(name, [])
        if not versions or versions[-1] is None:
            return 404, {"errors": []}
        return 200, {"data": {"data": versions[-1], "metadata": {"version": len(versions)}}}

    def _data_post(self, token: str, path: str, name: str, body: Any) -> tuple[int, Any]:
        versions = self.versions.get(name, [])
        if not self.allows(token, path, "update" if versions else "create"):
            return 403, {"errors": ["permission denied"]}
        if body["options"]["cas"] != len(versions):
            return 400, {"errors": ["check-and-set parameter did not match the current version"]}
        self.versions.setdefault(name, []).append(body["data"])
        return 200, {"data": {"version": len(self.versions[name])}}

    def _metadata_get(self, token: str, path: str, name: str, _: Any) -> tuple[int, Any]:
        if not self.allows(token, path, "read"):
            return 403, {"errors": ["permission denied"]}
        if name not in self.versions:
            return 404, {"errors": []}
        return 200, {"data": {"current_version": len(self.versions[name])}}

    def _metadata_delete(self, token: str, path: str, name: str, _: Any) -> tuple[int, Any]:
        if not self.allows(token, path, "delete"):
            return 403, {"errors": ["permission denied"]}
        self.versions.pop(name, None)
        return 204, None


@contextmanager
def vault_on_loopback() -> Generator[Vault, None, None]:
    """Run the server."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length") or 0))
            path = unquote(self.path.removeprefix("/v1/"))
            token = self.headers.get("x-vault-token") or ""
            vault.namespaces.add(self.headers.get("x-vault-namespace"))
            status, told = vault.answer(self.command, path, token, json.loads(sent or b"null"))
            body = told if isinstance(told, bytes) else b"" if told is None else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-type", "text/html" if isinstance(told, bytes) else "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815  # the names that http.server looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        vault = Vault(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield vault
        finally:
            server.shutdown()
            thread.join()
