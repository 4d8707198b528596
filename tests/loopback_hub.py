"""A hub on 127.0.0.1 that speaks the real one's protocol, and can be made to misbehave.

Large files (weights) are answered with a redirect that carries `X-Linked-Etag` (their sha256) and
`X-Linked-Size`, to a store that knows `Range`; small ones directly, with git's hash as `ETag`.
Refusals carry `X-Error-Code`. As a proxy it answers for any host.
"""

from __future__ import annotations

import hashlib
import http.server
import threading
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

COMMIT = "c0ffee" + "0" * 34
LARGE = (".safetensors", ".bin", ".pt")


@dataclass
class Repository:
    """Files by revision; `main` and the commits are the names that can be asked for."""

    files: dict[str, bytes]
    commit: str = COMMIT
    others: dict[str, dict[str, bytes]] = field(default_factory=dict)
    needs_token: str | None = None

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """(commit, files) of a revision."""
        if revision in ("main", self.commit):
            return self.commit, self.files
        if revision not in self.others:
            return None
        is_commit = len(revision) == 40
        commit = revision if is_commit else hashlib.sha1(revision.encode()).hexdigest()
        return commit, self.others[revision]


@dataclass
class Faults:
    """What goes wrong with the next downloads."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    cuts: int = 0
    extra: bytes = b""
    linked_size: int | None = None
    ignores_range: bool = False
    waits_at: int | None = None


class LoopbackHub:
    """The server; `requests` is what was asked, in order."""

    def __init__(self, repositories: dict[str, Repository] | None = None) -> None:
        self.repositories = repositories or {}
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.faults = Faults()
        self.waiting = threading.Event()
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.store = f"http://localhost:{self.server.server_port}"  # another host, as the real one
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop; who is waiting is let go."""
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def blob(self, sha256: str) -> bytes:
        """A large file by its hash."""
        every = [r.files for r in self.repositories.values()]
        every += [files for r in self.repositories.values() for files in r.others.values()]
        return next(c for fs in every for c in fs.values() if _sha256(c) == sha256)


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        # a proxy is asked with the whole address
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {self.path}")
        self.hub.tokens.append(self.headers.get("Authorization"))
        if self.hub.faults.status != 200:
            return self.refuse(self.hub.faults.status, **self.hub.faults.headers)
        if path.startswith("/large/"):
            return self.large(self.hub.blob(path.removeprefix("/large/")))
        repo, resolve, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        repository = self.hub.repositories.get(repo)
        if not resolve or repository is None:
            return self.refuse(404, code="RepoNotFound")
        if repository.needs_token is not None and (refusal := self.gate(repository.needs_token)):
            return refusal()
        found = repository.at(revision)
        if found is None:
            return self.refuse(404, code="RevisionNotFound")
        commit, files = found
        if name not in files:
            return self.refuse(404, code="EntryNotFound", commit=commit)
        content = files[name]
        if name.endswith(LARGE):
            size = self.hub.faults.linked_size
            self.head(
                302,
                {
                    "Location": f"{self.hub.store}/large/{_sha256(content)}",
                    "X-Linked-Etag": f'"{_sha256(content)}"',
                    "X-Linked-Size": str(len(content) if size is None else size),
                    "X-Repo-Commit": commit,
                    "Content-Length": "0",
                },
            )
        else:
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self.head(
                200,
                {
                    "ETag": f'"{git}"',
                    "X-Repo-Commit": commit,
                    "Content-Length": str(len(content)),
                },
            )
            if self.command == "GET":
                self.wfile.write(content)
        return None

    def gate(self, token: str) -> Any:
        """How a gated repository refuses; None for who has the token."""
        given = self.headers.get("Authorization")
        if given == f"Bearer {token}":
            return None
        if given is None:
            return lambda: self.refuse(401, code="GatedRepo")
        if given == "Bearer expired":
            message = "Invalid credentials in Authorization header"
            return lambda: self.refuse(401, message=message)
        return lambda: self.refuse(403, code="GatedRepo")

    def large(self, content: bytes) -> None:
        """The store behind the redirects."""
        faults = self.hub.faults
        start = 0
        asked = self.headers.get("Range")
        if asked and not faults.ignores_range:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        body = content[start:] + faults.extra
        headers = {"Content-Length": str(len(body)), "ETag": f'"{_sha256(content)}"'}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.head(206 if start else 200, headers)
        if self.command == "HEAD":
            return
        if faults.cut_at is not None and faults.cuts > 0:
            faults.cuts -= 1
            self.wfile.write(body[: max(0, faults.cut_at - start)])
            self.close_connection = True
            return
        if faults.waits_at is not None:
            self.wfile.write(body[: faults.waits_at])
            self.wfile.flush()
            self.hub.waiting.set()
            self.hub.closing.wait(30)
            self.close_connection = True
            return
        self.wfile.write(body)

    def refuse(self, status: int, *, code: str = "", commit: str = "", message: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Repo-Commit": commit, "X-Error-Message": message}
        self.head(status, {k: v for k, v in headers.items() if v} | {"Content-Length": "0"})

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
