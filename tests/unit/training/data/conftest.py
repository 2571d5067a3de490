"""A real HTTP server on loopback that can break off, resume, and change what it serves."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        etag = f'"{hashlib.sha256(self.server.content).hexdigest()[:8]}"'
        if self.headers.get("If-Range", etag) != etag:
            start = 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", etag)
        self.end_headers()
        if self.server.breaks and self.server.breaks.pop():
            body = body[: len(body) // 3]
            self.server.content = self.server.next_content or self.server.content
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def http():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.breaks, server.ranges, server.next_content = b"", [], [], None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}/set.bin"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
