"""Streams whose client takes nothing (RFC 9113 section 5.2): `stall.py ADDRESS stream|connection COUNT`.

Prints a line of JSON when all streams have a head. Asked for more by a line, it prints another when all were reset, or the
connection has ended.
"""

import json
import struct
import sys

from frames import END_STREAM, SETTINGS, Frames, connect, frame, head


def main(address, where, count):
    count = int(count)
    # With large windows of streams, that of the connection is used up first.
    window = {"stream": 0, "connection": 2**31 - 1}[where]
    stream = connect(address)
    settings = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window))
    stream.sendall(settings + b"".join(head(2 * at + 1, "GET", "/big", END_STREAM) for at in range(count)))
    frames = Frames()

    def until(done):
        while not done(frames.seen) and not frames.seen["ended"]:
            received = stream.recv(65536)
            frames.feed(received)
            frames.seen["ended"] = not received
        print(json.dumps(frames.seen), flush=True)

    until(lambda seen: seen["heads"] == count)
    if sys.stdin.readline():
        until(lambda seen: seen["resets"] == count)
        sys.stdin.readline()


main(*sys.argv[1:])
