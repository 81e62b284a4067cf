# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven over a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

#: Where one is, if it is anywhere.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page. `errors` are what its scripts raised, and what its console and its security policy said."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()

        options = (
            "--headless --no-sandbox --disable-gpu --no-first-run --disable-extensions --hide-scrollbars"
        )
        options += " --disable-background-networking --disable-dev-shm-usage --remote-debugging-pipe"
        # Chromium reads commands from 3 and writes to 4. These may be among the pipes' own numbers.
        wires = [(to_read, 20), (to_write, 21), (20, 3), (21, 4)]
        self._process = os.posix_spawn(
            CHROMIUM,
            [CHROMIUM, *options.split(), f"--user-data-dir={profile}", "about:blank"],
            os.environ,
            file_actions=[
                *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)),
                *((os.POSIX_SPAWN_DUP2, *each) for each in wires),
                *((os.POSIX_SPAWN_CLOSE, number) for number in (20, 21)),
            ],
            setsid=True,
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._count = 0
        self._session = ""
        self.errors: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a command."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next(time.monotonic() + 30)
            if found.get("id") == self._count:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            chunk = os.read(self._from, 1 << 20) if ready else b""
            assert chunk, "the browser does not answer"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        self._heard(found.get("method", ""), found.get("params", {}))
        return found

    def _heard(self, method: str, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(each.get("value", each)) for each in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} ({told['entry'].get('url', '')})")

    # -- the page -------------------------------------------------------------------------------------

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def look(self, script: str) -> Any:
        """The value of a script's expression."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script: str, seconds: float = 20.0) -> None:
        """Until the expression is true, or is something."""
        until = time.monotonic() + seconds
        while True:
            if self.look(f"Boolean({script})"):
                return
            assert time.monotonic() < until, f"this did not become true: {script}; {self.errors}"
            time.sleep(0.03)

    def choose_file(self, selector: str, path: Path) -> None:
        """As someone does in the dialog of an <input type=file>."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    def screenshot(self, path: Path, width: int, dark: bool = False, mobile: bool = False) -> None:
        """A picture of the whole page at a width in pixels."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.size(width, 900, mobile)
        height = int(self.look("document.documentElement.scrollHeight"))
        self.size(width, max(height, 600), mobile)
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def close(self) -> None:
        try:
            self._session = ""
            self.call("Browser.close")
        except (AssertionError, OSError):
            pass
        until = time.monotonic() + 5
        while os.waitpid(self._process, os.WNOHANG) == (0, 0):
            if time.monotonic() > until:
                os.killpg(self._process, signal.SIGKILL)
                until += 5
            time.sleep(0.02)
        os.close(self._to)
        os.close(self._from)
