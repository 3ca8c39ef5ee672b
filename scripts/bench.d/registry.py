"""A registry of one layout on this machine: what it takes to pull, and nothing more."""

import contextlib
import http.server
import json
import os
import re
import threading


@contextlib.contextmanager
def serve(layout):
    """Serves the layout's image `latest`; its reference."""
    with open(os.path.join(layout, "index.json")) as file:
        (root,) = json.load(file)["manifests"]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(False)

        def do_GET(self):
            self.answer(True)

        def answer(self, with_body):
            found = re.fullmatch(r"/v2/app/(?:manifests|blobs)/(?:latest|(sha256:[0-9a-f]{64}))", self.path)
            if self.path == "/v2/":
                return self.send(200, b"{}", {}, with_body)
            digest = (found.group(1) or root["digest"]) if found else ""
            path = os.path.join(layout, "blobs", *digest.split(":"))
            if not found or not os.path.isfile(path):
                return self.send(404, b"{}", {}, with_body)
            size = os.path.getsize(path)
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            first, last = (int(wanted[1]), int(wanted[2] or size - 1)) if wanted else (0, size - 1)
            last = min(last, size - 1)
            with open(path, "rb") as file:
                file.seek(first)
                body = file.read(last - first + 1) if with_body else b""
            headers = {"Content-Type": root["mediaType"] if digest == root["digest"] else "application/octet-stream",
                       "Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
            if wanted:
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            return self.send(206 if wanted else 200, body, headers, with_body, last - first + 1)

        def send(self, status, body, headers, with_body, length=None):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"docker://127.0.0.1:{server.server_port}/app:latest"
    finally:
        server.shutdown()
