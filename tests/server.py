"""A small HTTP server on 127.0.0.1 that can be told to misbehave, and that writes down what it was asked and gave."""

import contextlib
import http.server
import re
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Site:
    """What the server gives. files: path -> bytes; the rest changes how.

    ranges: answer Range requests; status: path -> an error to answer with; breaks: how many bytes to send of each of
    the next answers before the connection is cut; pause: seconds to wait after each 64 KiB; stop: a byte before which
    it waits until that is changed; log: (path, first byte asked for, bytes to be sent) of each answer, written before
    its first byte is, for a client that has them all may look there at once; etag: path -> version of the file;
    encoding: the Content-Encoding it claims
    """

    files: dict
    ranges: bool = True
    status: dict = field(default_factory=dict)
    breaks: list = field(default_factory=list)
    pause: float = 0.0
    stop: int | None = None
    etag: dict = field(default_factory=dict)
    encoding: str = ""
    log: list = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def serving(files, **settings):
    """Run a server for the block; gives its `Site`, whose url ends without a slash."""
    site = Site(files, **settings)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            answer(self, site)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # a client that is killed is no news
    server.handle_error = lambda *_: None
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def answer(handler, site):
    """Answer one GET as the site says."""
    path = handler.path.lstrip("/")
    if path in site.status or path not in site.files:
        site.log.append((path, 0, 0))
        handler.send_response(site.status.get(path, 404))
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    data, tag = site.files[path], f'"{site.etag.get(path, "1")}"'
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    start = int(asked[1]) if asked and site.ranges and handler.headers.get("If-Range", tag) == tag else 0
    if start >= len(data) > 0:
        site.log.append((path, start, 0))
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(data)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    end = min(len(data), start + site.breaks.pop(0)) if site.breaks else len(data)
    site.log.append((path, start, end - start))
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    handler.send_header("Content-Length", str(len(data) - start))
    handler.send_header("ETag", tag)
    if site.encoding:
        handler.send_header("Content-Encoding", site.encoding)
    handler.end_headers()
    sent = start
    with contextlib.suppress(OSError):
        while sent < end:
            limit = min(sent + (1 << 16), end)
            if site.stop is not None and sent < site.stop:
                limit = min(limit, site.stop)
            while sent == site.stop:
                time.sleep(0.002)
            handler.wfile.write(data[sent:limit])
            sent = limit
            time.sleep(site.pause)
    handler.close_connection = sent < len(data)
