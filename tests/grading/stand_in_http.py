"""The wire of the stand-in server: HTTP/1.1 on a free loopback port, and answers that may stop half-way."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """One answer to send; `share` of the body is sent before the connection is closed, and nothing at all where it is 0."""

    status: int
    body: bytes
    headers: dict[str, str]
    share: float = 1.0


class Server(ThreadingHTTPServer):
    """Hands each request (method, target, lower-case headers, body) to `respond`; other trouble than a lost client goes to `trouble`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, respond: Callable[[str, str, dict[str, str], bytes], Answer], trouble: list[BaseException]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.respond, self.trouble = respond, trouble

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self.trouble.append(error)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave in one piece

    def do_GET(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(size)
        if len(raw) < size:  # the client died while it sent: nothing was asked
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.respond(self.command, self.path, headers, raw)
        if answer.share:
            self.send_response(answer.status)
            for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body[: int(len(answer.body) * answer.share)])
            self.wfile.flush()
        if answer.share < 1.0:
            self.close_connection = True
            with suppress(OSError):  # the client was faster
                self.connection.shutdown(SHUT_RDWR)

    do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        """Quiet."""
