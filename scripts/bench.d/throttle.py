"""A TCP proxy with a rate and a delay each way, which counts bytes and HTTP requests."""

import queue
import socket
import threading
import time

PIECE = 64 * 1024


class Throttle:
    """Listens on a port of its own of `host` and passes on to `target`, a (host, port). `rate` is in bytes a
    second, all connections together; `delay` in seconds, one way. None and 0: as it comes."""

    def __init__(self, target, rate=None, delay=0.0, host="127.0.0.1"):
        self.target, self.rate, self.delay = target, rate, delay
        self.bytes = self.requests = 0
        self.free_at = 0.0
        self.lock = threading.Lock()
        self.is_down = False
        self.open = set()
        self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self):
        self.bytes = self.requests = 0

    def down(self, is_down):
        """While it is down, connections are closed as soon as they are made."""
        self.is_down = is_down
        if is_down:
            for connection in list(self.open):
                connection.close()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            if self.is_down:
                client.close()
                continue
            server = socket.create_connection(self.target)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.open.add(end)
            for source, sink, up in ((client, server, True), (server, client, False)):
                pieces = queue.SimpleQueue()
                threading.Thread(target=self.read, args=(source, pieces, up), daemon=True).start()
                threading.Thread(target=self.write, args=(sink, pieces), daemon=True).start()

    def read(self, source, pieces, up):
        while True:
            try:
                data = source.recv(PIECE)
            except OSError:
                data = b""
            now = time.monotonic()
            if up:
                self.requests += data.count(b" HTTP/1.1\r\n")
            else:
                self.bytes += len(data)
                if self.rate:
                    with self.lock:
                        self.free_at = max(self.free_at, now) + len(data) / self.rate
                        now = self.free_at
            pieces.put((now + self.delay, data))
            if not data:
                return
            # What the link has not taken yet waits with the sender.
            ahead = now - time.monotonic() - 0.05
            if ahead > 0:
                time.sleep(ahead)

    def write(self, sink, pieces):
        while True:
            at, data = pieces.get()
            wait = at - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            try:
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
            except OSError:
                return
