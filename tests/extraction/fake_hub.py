"""The part of the Hugging Face hub's protocol that clients need to fetch repositories, served on 127.0.0.1.

The folder contains models/OWNER/NAME/... and datasets/OWNER/NAME/....
"""

import hashlib
import json
import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROUTE = re.compile(
    r"/(?P<api>api/)?(?:(?P<kind>models|datasets)/)?(?P<name>[^/]+/[^/]+)"
    r"(?:/(?P<verb>resolve|revision|tree|paths-info)/(?P<revision>[^/]+))?(?:/(?P<path>.+))?"
)


def commit_of(name: str) -> str:
    """Return the commit id of a repository; each has exactly one."""
    return hashlib.sha1(name.encode()).hexdigest()


def entries(root: Path, folder: Path, recursive: bool) -> list[dict]:
    paths = sorted(folder.rglob("*") if recursive else folder.iterdir())
    return [entry(root, path) for path in paths]


def entry(root: Path, path: Path) -> dict:
    oid = hashlib.sha1(str(path).encode()).hexdigest()
    kind = {"type": "file", "size": path.stat().st_size} if path.is_file() else {"type": "directory"}
    return {**kind, "path": path.relative_to(root).as_posix(), "oid": oid}


@contextmanager
def fake_hub(folder: Path, gated: Collection[str] = ()) -> Iterator[str]:
    """Serve ``folder`` and yield the address; requests for files of ``gated`` repositories are refused."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            route = ROUTE.fullmatch(unquote(url.path).rstrip("/"))
            kind, name = (route["kind"] or "models", route["name"]) if route else ("", "")
            root = folder / kind / name
            if not route or not root.is_dir():
                return self.refuse(404, "RepoNotFound")
            commit = commit_of(name)
            if route["revision"] not in (None, "main", commit):
                return self.refuse(404, "RevisionNotFound")
            path = root / (route["path"] or "")
            if not path.exists():
                return self.refuse(404, "EntryNotFound")
            if route["verb"] == "resolve":
                return self.refuse(403, "GatedRepo") if name in gated else self.send_file(path, commit)
            if route["verb"] == "tree":
                return self.send_json(entries(root, path, "recursive=true" in url.query.lower()))
            if route["verb"] == "paths-info":
                paths = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
                return self.send_json([entry(root, root / path) for path in paths if (root / path).exists()])
            files = [{"rfilename": file["path"]} for file in entries(root, root, True) if file["type"] == "file"]
            gate = "manual" if name in gated else False
            return self.send_json({"id": name, "sha": commit, "siblings": files, "private": False, "gated": gate})

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

        def refuse(self, status: int, code: str) -> None:
            self.reply(status, b"", {"X-Error-Code": code})

        def send_json(self, content: object) -> None:
            self.reply(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def send_file(self, path: Path, commit: str) -> None:
            content, status, headers = path.read_bytes(), 200, {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
            headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
            if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(part[1]), int(part[2] or len(content) - 1)
                headers["Content-Range"] = f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}"
                content, status = content[first : last + 1], 206
            self.reply(status, content, headers)

        def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
