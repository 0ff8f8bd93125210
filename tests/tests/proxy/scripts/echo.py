"""A WebSocket server behind nginx: `echo.py NAME`. It answers with its name and what it got; `send N` is answered with N bytes."""

import asyncio
import sys

import websockets


async def talk(socket):
    async for message in socket:
        command, _, number = message.partition(" ")
        if command == "send":
            await socket.send("x" * int(number))
        else:
            await socket.send(f"{sys.argv[1]} {message}")


async def main():
    async with websockets.serve(talk, "127.0.0.1", 9000, max_size=None):
        await asyncio.Future()


asyncio.run(main())
