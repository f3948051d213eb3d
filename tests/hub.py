"""A Hugging Face Hub on loopback: directories of this machine, served as repositories over real HTTP.

    with Hub({"org/name": path}, gated={"org/gated": "token"}) as hub:
        os.environ["HF_ENDPOINT"] = hub.url

huggingface_hub and vLLM download from it as they do from the hub: model information, trees, refs, files with
ETags and ranges. A gated repository shows its names to everybody and its files to its token; a repository
in `private` is absent without its token; a token that is in `refused` is answered as a revoked one is.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, unquote, urlsplit

BRANCH = "main"
# The hub keeps files from this size on as LFS blobs, whose ETag is the SHA-256 of the content.
LFS_SIZE = 10_000
PIECE = 1024 * 1024
REPO = r"(?P<repo>[^/]+(?:/[^/]+)?)"
API = re.compile(rf"/api/models/{REPO}")
API_REVISION = re.compile(rf"/api/models/{REPO}/revision/(?P<revision>[^/]+)")
API_TREE = re.compile(rf"/api/models/{REPO}/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?")
API_PATHS = re.compile(rf"/api/models/{REPO}/paths-info/(?P<revision>[^/]+)")
API_REFS = re.compile(rf"/api/models/{REPO}/refs")
API_AUTH = re.compile(rf"/api/models/{REPO}/auth-check")
RESOLVE = re.compile(rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Repository:
    """A directory as the hub shows it. Its commit is made of its content."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    @cached_property
    def files(self) -> dict[str, Path]:
        """Every file by its name below the root."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path for path in sorted(found)}

    @cached_property
    def oids(self) -> dict[str, str]:
        """Each file's ETag: SHA-256 of a large file, Git's blob id of a small one."""
        return {name: _oid(path) for name, path in self.files.items()}

    @cached_property
    def sha(self) -> str:
        """The commit."""
        return hashlib.sha1(json.dumps(self.oids).encode(), usedforsecurity=False).hexdigest()

    @cached_property
    def config(self) -> dict[str, object]:
        """What the hub shows of config.json: its two words about the architecture."""
        path = self.files.get("config.json")
        found = json.loads(path.read_text()) if path else {}
        return {name: found[name] for name in ("architectures", "model_type") if name in found}

    def entry(self, name: str) -> dict[str, object]:
        """A file as trees and paths-info show it."""
        size = self.files[name].stat().st_size
        entry: dict[str, object] = {"type": "file", "path": name, "oid": self.oids[name][:40], "size": size}
        if size >= LFS_SIZE:
            entry["lfs"] = {"oid": self.oids[name], "size": size, "pointerSize": 134}
        return entry

    def sibling(self, name: str, *, blobs: bool) -> dict[str, object]:
        """A file as model information shows it."""
        if not blobs:
            return {"rfilename": name}
        entry = self.entry(name)
        found: dict[str, object] = {"rfilename": name, "size": entry["size"], "blobId": entry["oid"]}
        if "lfs" in entry:
            found["lfs"] = {"sha256": self.oids[name], "size": entry["size"], "pointerSize": 134}
        return found

    def tree(self, folder: str, *, recursive: bool) -> list[dict[str, object]]:
        """What lies in a folder; folders are entries of their own."""
        prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
        below = [name.removeprefix(prefix) for name in self.files if name.startswith(prefix)]
        folders = {part for name in below for part in _parents(name) if recursive or "/" not in part}
        files = [name for name in below if recursive or "/" not in name]
        return [
            {"type": "directory", "path": prefix + name, "oid": self.sha, "size": 0}
            for name in sorted(folders)
        ] + [self.entry(prefix + name) for name in files]


class Hub:
    """The hub, while the `with` block runs. `requests` holds each request's method and path, in order.

    `before_each_piece` is called before each MiB of a file is sent, and may wait.
    """

    def __init__(
        self,
        repositories: Mapping[str, Path],
        *,
        gated: Mapping[str, str] | None = None,
        private: Mapping[str, str] | None = None,
        refused: Collection[str] = (),
    ) -> None:
        self.repositories = {name: Repository(name, root) for name, root in repositories.items()}
        self.gated = dict(gated or {})
        self.private = dict(private or {})
        self.refused = frozenset(refused)
        self.requests: list[tuple[str, str]] = []
        self.sent = 0  # bytes of files
        self.before_each_piece: Callable[[], None] = lambda: None
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is to be."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Refusal(Exception):
    """An answer that is an error, as the hub words it."""

    def __init__(self, status: HTTPStatus, code: str | None, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a question, or send a file."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.hub.requests.append((self.command, self.path))
        url = urlsplit(self.path)
        try:
            self._answer(unquote(url.path), parse_qs(url.query), body)
        except _Refusal as refusal:
            headers = {"X-Error-Message": str(refusal)}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            self._send(refusal.status, json.dumps({"error": str(refusal)}).encode(), headers)

    def do_HEAD(self) -> None:
        """Answer as GET does, without the body."""
        self.do_GET()

    def do_POST(self) -> None:
        """Answer paths-info, which asks in a body."""
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
        """Say nothing."""

    def _answer(self, path: str, query: Mapping[str, list[str]], body: bytes) -> None:
        if found := API_REVISION.fullmatch(path) or API.fullmatch(path):
            self._model(self._repository(**found.groupdict()), blobs="blobs" in query)
        elif found := API_TREE.fullmatch(path):
            repository = self._repository(found["repo"], found["revision"])
            recursive = query.get("recursive", ["false"])[0].lower() in ("1", "true")
            self._json(repository.tree(found["path"] or "", recursive=recursive))
        elif found := API_PATHS.fullmatch(path):
            repository = self._repository(found["repo"], found["revision"])
            self._json([repository.entry(name) for name in _paths(body) if name in repository.files])
        elif found := API_REFS.fullmatch(path):
            repository = self._repository(found["repo"])
            branch = {"name": BRANCH, "ref": f"refs/heads/{BRANCH}", "targetCommit": repository.sha}
            self._json({"branches": [branch], "tags": [], "converts": []})
        elif found := API_AUTH.fullmatch(path):
            self._check_gate(self._repository(found["repo"]))
            self._json({})
        elif found := RESOLVE.fullmatch(path):
            self._file(self._repository(found["repo"], found["revision"]), found["path"])
        else:
            raise _Refusal(HTTPStatus.NOT_FOUND, None, "Sorry, we can't find the page you are looking for.")

    def _token(self) -> str | None:
        _, _, token = self.headers.get("Authorization", "").partition(" ")
        return token or None

    def _repository(self, repo: str, revision: str = BRANCH) -> Repository:
        token = self._token()
        if token in self.hub.refused:
            raise _Refusal(HTTPStatus.UNAUTHORIZED, None, "Invalid credentials in Authorization header")
        repository = self.hub.repositories.get(repo)
        if repository is None or self.hub.private.get(repo, token) != token:
            status = HTTPStatus.NOT_FOUND if token else HTTPStatus.UNAUTHORIZED
            raise _Refusal(status, "RepoNotFound", "Repository not found")
        if revision not in (BRANCH, repository.sha):
            raise _Refusal(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository

    def _check_gate(self, repository: Repository) -> None:
        wanted = self.hub.gated.get(repository.name)
        if wanted is not None and self._token() != wanted:
            status = HTTPStatus.FORBIDDEN if self._token() else HTTPStatus.UNAUTHORIZED
            message = (
                f"Access to model {repository.name} is restricted and you are not in the authorized list."
            )
            raise _Refusal(status, "GatedRepo", message)

    def _model(self, repository: Repository, *, blobs: bool) -> None:
        self._json(
            {
                "_id": repository.sha[:24],
                "id": repository.name,
                "modelId": repository.name,
                "author": repository.name.partition("/")[0],
                "sha": repository.sha,
                "private": repository.name in self.hub.private,
                "gated": "manual" if repository.name in self.hub.gated else False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "config": repository.config,
                "siblings": [repository.sibling(name, blobs=blobs) for name in repository.files],
            }
        )

    def _file(self, repository: Repository, name: str) -> None:
        headers = {"X-Repo-Commit": repository.sha}
        self._check_gate(repository)
        path = repository.files.get(name)
        if path is None:
            raise _Refusal(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
        content = path.read_bytes()
        headers |= {
            "ETag": f'"{repository.oids[name]}"',
            "X-Linked-Size": str(len(content)),
            "X-Linked-ETag": f'"{repository.oids[name]}"',
            "Accept-Ranges": "bytes",
        }
        wanted = RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted is None:
            self._send(HTTPStatus.OK, content, headers, "application/octet-stream")
            return
        start, end = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
        if start >= len(content):
            headers["Content-Range"] = f"bytes */{len(content)}"
            self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", headers)
            return
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self._send(HTTPStatus.PARTIAL_CONTENT, content[start : end + 1], headers, "application/octet-stream")

    def _json(self, value: object) -> None:
        self._send(HTTPStatus.OK, json.dumps(value).encode(), {})

    def _send(
        self,
        status: HTTPStatus,
        body: bytes,
        headers: Mapping[str, str],
        kind: str = "application/json; charset=utf-8",
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, len(body), PIECE):
            if kind == "application/octet-stream":
                self.hub.before_each_piece()
                self.hub.sent += len(body[start : start + PIECE])
            self.wfile.write(body[start : start + PIECE])


def _oid(path: Path) -> str:
    content = path.read_bytes()
    if len(content) >= LFS_SIZE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _paths(body: bytes) -> list[str]:
    """The paths of a paths-info request: JSON, or a form."""
    if body.lstrip().startswith(b"{"):
        paths = json.loads(body)["paths"]
        return [paths] if isinstance(paths, str) else list(paths)
    return parse_qs(body.decode()).get("paths", [])
