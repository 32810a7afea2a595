"""The page in a browser: what the bridge lets in, and what Chromium shows of a node."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from skelanon.configs import check
from skelanon.sensors.joints import PARENTS
from skelanon.stream import Node, create_keys, create_node, load_client_keys

if TYPE_CHECKING:
    from tests.conftest import RawNode

aiohttp = pytest.importorskip("aiohttp", reason="the example's server")

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "browser"
PAGE = (FOLDER / "index.html").read_text("utf-8")
RunNode = Callable[[Callable[[], Node]], AbstractContextManager[Node]]


@pytest.fixture(scope="module")
def bridge() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bridge_of_the_browser", FOLDER / "bridge.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The bridge in a thread of its own; its address."""
    loop = asyncio.new_event_loop()
    made: list[str] = []
    ready = threading.Event()

    async def start() -> Any:
        runner = aiohttp.web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        made.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(20)
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        assert not thread.is_alive()


def test_the_page_fetches_nothing_from_elsewhere_and_knows_the_skeleton() -> None:
    assert re.findall(r"(?:src|href)\s*=|@import|url\(", PAGE) == []
    (parents,) = re.findall(r"const PARENTS = \[(.*?)\]", PAGE)
    assert tuple(map(int, parents.split(","))) == PARENTS


def test_messages_are_handed_on_as_they_are(bridge: ModuleType, raw_node: RawNode) -> None:
    async def receive(address: str) -> list[bytes]:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{address}/stream") as client:
            await asyncio.to_thread(raw_node.await_subscription)
            raw_node.socket.send_multipart([b"skelanon/1/hall/frame", b"one"])
            raw_node.socket.send_multipart([b"skelanon/1/hall/frame"])  # not of the wire
            raw_node.socket.send_multipart([b"skelanon/1/hall/status", b"t\0wo"])
            received = [await client.receive_bytes(timeout=10) for _ in range(2)]
        await asyncio.to_thread(raw_node.socket.recv)  # who leaves is subscribed no longer
        return received

    with serving(bridge.create_app(raw_node.endpoint)) as address:
        assert asyncio.run(receive(address)) == [b"skelanon/1/hall/frame\0one", b"skelanon/1/hall/status\0t\0wo"]


def test_other_sites_are_refused(bridge: ModuleType) -> None:
    async def answers(address: str) -> list[int]:
        port = address.rpartition(":")[2]
        found = []
        async with aiohttp.ClientSession() as session:
            for path in ("/", "/stream"):
                for headers in (
                    {"Origin": "http://evil.example"},
                    {"Origin": "null"},
                    {"Host": f"rebound.example:{port}", "Origin": f"http://rebound.example:{port}"},
                    {"Host": f"rebound.example:{port}"},
                ):
                    async with session.get(address + path, headers=headers) as answer:
                        found.append(answer.status)
            for headers in ({}, {"Host": f"lab.example:{port}", "Origin": f"https://lab.example:{port}"}):
                async with session.get(address, headers=headers) as answer:
                    found.append(answer.status)
                    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        return found

    with serving(bridge.create_app("tcp://127.0.0.1:9", hosts=["lab.example"])) as address:
        assert asyncio.run(answers(address)) == [403] * 8 + [200, 200]


# A browser, by the Chrome DevTools Protocol.


class Tab:
    """One page of a browser."""

    def __init__(self, socket: Any, session: str = "") -> None:
        self._socket = socket
        self._session = session
        self._calls = 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        while True:
            answer = await self._socket.receive_json(timeout=30)
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    async def evaluate(self, script: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def wait_for(self, script: str) -> None:
        until_s = time.monotonic() + 25
        while not await self.evaluate(script):
            assert time.monotonic() < until_s, (script, await self.evaluate("document.body.innerText"))
            await asyncio.sleep(0.05)

    async def screenshot(self) -> bytes:
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


@contextmanager
def chromium(folder: Path) -> Iterator[str]:
    """A headless browser; the address that it takes commands at."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    program = next(filter(None, map(shutil.which, names)), None) or pytest.skip("no Chromium is installed")
    flags = ["--headless", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
    flags += [f"--user-data-dir={folder}", "--hide-scrollbars"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium refuses to run as root with it
    with subprocess.Popen([program, *flags], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield next(re.findall(r"ws://\S+", line)[0] for line in process.stderr if "DevTools listening" in line)
        finally:
            process.terminate()
            process.communicate(timeout=20)


async def open_tab(session: Any, address: str, url: str) -> Tab:
    socket = await session.ws_connect(address, max_msg_size=0)
    browser = Tab(socket)
    target = await browser.call("Target.createTarget", url="about:blank")
    attached = await browser.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
    tab = Tab(socket, attached["sessionId"])
    tab._calls = 100
    await tab.call("Page.navigate", url=url)
    return tab


async def resize(tab: Tab, width: int, height: int, *, dark: bool) -> None:
    """Give the page a screen of so many pixels."""
    await tab.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    await tab.call("Emulation.setEmulatedMedia", features=[scheme])


def coloured(png: bytes, folder: Path) -> float:
    """Share of strongly coloured pixels: bodies and strips, on a grey ground."""
    image = pytest.importorskip("PIL.Image", reason="needs skelanon[train]")
    (folder / "shot.png").write_bytes(png)
    pixels = np.asarray(image.open(folder / "shot.png").convert("RGB"), np.int16)
    return float((pixels.max(axis=2) - pixels.min(axis=2) > 60).mean())


@pytest.mark.slow
def test_skeletons_are_seen_on_a_desk_and_a_phone(bridge: ModuleType, tmp_path: Path, run_node: RunNode) -> None:
    create_keys(tmp_path, "node")
    public, secret = create_keys(tmp_path, "viewer")
    (tmp_path / "clients").mkdir()
    shutil.copy(public, tmp_path / "clients")
    curve = {"secret_key": str(tmp_path / "node.key_secret"), "clients": str(tmp_path / "clients")}
    sensors = {name: {"kind": "synthetic", "persons": 2, "seed": seed} for seed, name in enumerate(["hall", "door"])}
    settings = check({"sensors": sensors, "publish": {"endpoint": "tcp://127.0.0.1:*", "curve": curve}}, "test")

    async def look(browser: str, address: str) -> None:
        async with aiohttp.ClientSession() as session:
            tab = await open_tab(session, browser, address)
            await tab.wait_for("document.querySelectorAll('.state.good').length === 2")
            await tab.wait_for("+document.querySelector('[data-stream=hall] .rate').textContent > 10")
            assert (
                await tab.evaluate("[...document.querySelectorAll('h2')].map(h => h.textContent).join()") == "door,hall"
            )
            assert "template, camera axes" in await tab.evaluate("document.body.innerText")
            for width, height, dark in ((1280, 800, True), (375, 800, False)):
                await resize(tab, width, height, dark=dark)
                await asyncio.sleep(0.3)
                assert await tab.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
                assert 0.002 < coloured(await tab.screenshot(), tmp_path) < 0.3

    with (
        run_node(lambda: create_node(settings)) as node,
        serving(bridge.create_app(node.publisher.endpoint, load_client_keys(secret, tmp_path / "node.key"))) as address,
        chromium(tmp_path / "profile") as browser,
    ):
        asyncio.run(look(browser, address))


@pytest.mark.slow
def test_gaps_restarts_silence_and_hostile_messages_are_seen(
    bridge: ModuleType, tmp_path: Path, raw_node: RawNode
) -> None:
    """What docs/wire.md tells a client to notice, in a second implementation of it."""
    hall = "document.querySelector('[data-stream=hall] {}')?.textContent"

    async def look(browser: str, address: str) -> None:
        async with aiohttp.ClientSession() as session:
            tab = await open_tab(session, browser, address)
            await asyncio.to_thread(raw_node.await_subscription)
            for sequence in (7, 8, 12):
                raw_node.frame(sequence, dropped=2)
            for hostile in (b"", b"\x91" * 5000, b"\xdf\xff\xff\xff\xff", b"\xc1", bytes(1000)):
                raw_node.socket.send_multipart([b"skelanon/1/hall/frame", hostile])
                raw_node.socket.send_multipart([b"skelanon/1/<b>/" + hostile[:9], hostile])
            raw_node.frame(3)  # does not grow
            await tab.wait_for(f"{hall.format('.lost')} === '3' && {hall.format('.dropped')} === '6'")
            await tab.wait_for(f"{hall.format('.state')} === 'no frames' && {hall.format('.bodies')} === '0'")
            raw_node.epoch = 2**62 + 1
            raw_node.frame(2, captured_ns=2**63 - 1)
            await tab.wait_for(f"{hall.format('.lost')} === '5' && {hall.format('.state')} === 'ok'")
            raw_node.status("stopped")
            await tab.wait_for(f"{hall.format('.state')} === 'stopped'")
            assert await tab.evaluate("document.querySelectorAll('article').length") == 1

    with serving(bridge.create_app(raw_node.endpoint)) as address, chromium(tmp_path / "profile") as browser:
        asyncio.run(look(browser, address))
