"""Streams whose client takes nothing (RFC 9113 section 5.2): `stall.py ADDRESS stream|connection COUNT`.

It is alive all the while, and answers PING. Prints a line of JSON when all streams have a head. Asked for more by a line, it
prints another when all were reset, or the connection has ended.
"""

import json
import struct
import sys
import threading

from frames import ACK, END_STREAM, PING, SETTINGS, Frames, connect, frame, head


class Client(Frames):
    def __init__(self, address, window, count):
        super().__init__()
        self.changed = threading.Condition()
        self.stream = connect(address)
        self.stream.settimeout(None)
        settings = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window))
        requests = (head(2 * at + 1, "GET", "/big", END_STREAM) for at in range(count))
        self.stream.sendall(settings + b"".join(requests))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while not self.seen["ended"]:
            try:
                received = self.stream.recv(65536)
            except OSError:
                received = b""
            with self.changed:
                self.feed(received)
                self.seen["ended"] = not received
                self.changed.notify()

    def take(self, kind, flags, payload):
        super().take(kind, flags, payload)
        if kind == PING and not flags & ACK:
            self.stream.sendall(frame(PING, ACK, 0, payload))

    def wait(self, what, count):
        with self.changed:
            self.changed.wait_for(lambda: self.seen[what] == count or self.seen["ended"], 60)
            print(json.dumps(self.seen), flush=True)


def main(address, where, count):
    # With large windows of streams, that of the connection is used up first.
    window = {"stream": 0, "connection": 2**31 - 1}[where]
    client = Client(address, window, int(count))
    client.wait("heads", int(count))
    for _ in sys.stdin:
        client.wait("resets", int(count))


main(*sys.argv[1:])
