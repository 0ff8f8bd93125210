"""A WebSocket client over HTTP/1.1 and TLS: `websocket1.py ADDRESS COOKIE`.

Each line of standard input is a message (`long N` is one of N bytes); each answer is a line, a long one as its length.
"""

import asyncio
import ssl
import sys

import websockets


def expand(line):
    command, _, number = line.partition(" ")
    return "y" * int(number) if command == "long" else line


async def main(address, cookie):
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    connecting = websockets.connect(
        "wss://mail.example.com/ws", host=address, ssl=tls, max_size=None, extra_headers={"Cookie": cookie}
    )
    async with connecting as socket:
        print("open", flush=True)
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            await socket.send(expand(line))
            answer = await asyncio.wait_for(socket.recv(), 20)
            print(answer if len(answer) < 100 else len(answer), flush=True)
    print("closed", socket.close_code, flush=True)


asyncio.run(main(*sys.argv[1:]))
