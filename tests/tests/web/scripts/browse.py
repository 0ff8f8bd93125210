"""Drives Chromium by its DevTools protocol: lines of JSON in, lines of JSON out."""

import asyncio
import base64
import json
import pathlib
import sys
import time
import urllib.request

import websockets

PATIENCE = 60


def target(profile):
    """The address of the first page, once Chromium has written where it listens."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            port = (pathlib.Path(profile) / "DevToolsActivePort").read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            return pages[0]["webSocketDebuggerUrl"]
        except (OSError, IndexError):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


class Browser:
    def __init__(self, socket):
        self.socket = socket
        self.number = 0
        self.complaints = []

    async def call(self, method, **parameters):
        self.number += 1
        await self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE))
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.note(message)

    def note(self, message):
        """What the console says: a violated policy, an error of the script."""
        if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(message["params"]))

    async def evaluate(self, expression):
        result = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"]))
        return result["result"].get("value")

    async def until(self, expression):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                value = await self.evaluate(expression)
            except RuntimeError:
                # In the middle of a page that is being loaded.
                value = None
            if value:
                return value
            if time.monotonic() > until:
                raise RuntimeError(f"never so: {expression}; {self.complaints}")
            await asyncio.sleep(0.05)

    async def show(self, width, height, mobile, scheme, script):
        await self.call("Emulation.setScriptExecutionDisabled", value=not script)
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=mobile,
        )
        await self.call(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    async def picture(self, path):
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        pathlib.Path(path).write_bytes(base64.b64decode(shot["data"]))

    async def do(self, order):
        match order["do"]:
            case "open":
                await self.call("Page.navigate", url=order["url"])
                return await self.until("document.readyState === 'complete' && !!document.getElementById('live')")
            case "show":
                return await self.show(
                    order["width"], order["height"], order["mobile"], order["scheme"], order["script"]
                )
            case "evaluate":
                return await self.evaluate(order["expression"])
            case "until":
                return await self.until(order["expression"])
            case "key":
                for kind in ("keyDown", "keyUp"):
                    await self.call("Input.dispatchKeyEvent", type=kind, **order["key"])
                return None
            case "picture":
                return await self.picture(order["path"])
            case "complaints":
                return self.complaints


async def main():
    async with websockets.connect(target(sys.argv[1]), max_size=None) as socket:
        browser = Browser(socket)
        for domain in ("Page", "Runtime", "Log"):
            await browser.call(f"{domain}.enable")
        for line in sys.stdin:
            try:
                answer = {"value": await browser.do(json.loads(line))}
            except RuntimeError as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)


asyncio.run(main())
