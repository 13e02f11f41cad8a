"""A small web server for the tests: files from memory, with range support or without, and with faults on demand."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WebServer(ThreadingHTTPServer):
    """Serves `files`, by their paths.

    Attributes:
        files: What is served.
        requests: Method, path and range of each request so far.
        ranges: Whether it answers range requests; without, it sends the whole file.
        says_no: Whether it says so beforehand (`Accept-Ranges: none`).
        faults: What becomes of the next requests: a status, or `cut` for half of an answer.
        forbidden: Paths that nobody may see.
        allowed: Requests that are answered before it ends every connection; None for no limit.
    """

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.requests: list[tuple[str, str, str]] = []
        self.ranges, self.says_no = True, False
        self.faults: list[int | str] = []
        self.forbidden: set[str] = set()
        self.allowed: int | None = None

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: WebServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        server, path, asked = self.server, self.path.partition("?")[0], self.headers.get("Range", "")
        server.requests.append((self.command, self.path, asked))
        if server.allowed is not None and len(server.requests) > server.allowed:
            self.close_connection = True
            return
        fault = server.faults.pop(0) if server.faults and body else None
        content = server.files.get(path)
        status = fault if isinstance(fault, int) else 404 if content is None else 200
        status = 403 if path in server.forbidden else status
        if status != 200 or content is None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", asked) if server.ranges else None
        part = content[int(span[1]) : int(span[2]) + 1] if span else content
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{hash(content):x}"')
        if span:
            self.send_header("Content-Range", f"bytes {span[1]}-{int(span[1]) + len(part) - 1}/{len(content)}")
        if server.says_no:
            self.send_header("Accept-Ranges", "none")
        self.end_headers()
        if body:
            self.wfile.write(part[: len(part) // 2] if fault == "cut" else part)
            self.close_connection = fault == "cut"


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[WebServer]:
    """Run a server for the while."""
    server = WebServer(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
