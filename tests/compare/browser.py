"""A page in Chromium, headless and alone: opened, asked, and told what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cyclerate as cr

AXE = Path(__file__).parents[2] / "build" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
    *("hide-scrollbars", "force-device-scale-factor=1"),
)


@dataclass
class Browser:
    """A page in Chromium, asked and told by scripts."""

    driver: Any

    def open(
        self, path: Path, *, width: int = 1100, scheme: str = "light", media: str = ""
    ) -> None:
        """Opens a page anew, as wide as that, in light or dark, on screen or on paper."""
        self.driver.get("about:blank")
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.tell("Emulation.setDeviceMetricsOverride", screen)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.tell("Emulation.setEmulatedMedia", {"media": media, "features": features})
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(path.as_uri())

    def tell(self, command: str, values: dict[str, Any] | None = None) -> Any:
        """Sends a command of the DevTools."""
        return self.driver.execute_cdp_cmd(command, values or {})

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs a script in the page; returns what it returns."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        """The first element that fits."""
        return self.driver.find_element("css selector", selector)

    def set(self, **values: Any) -> None:
        """Types and chooses values in the form of the schedule, in this order."""
        for name, value in values.items():
            self.run(SET, name, value)

    def code(self) -> Any:
        """The schedule that the code of the page makes."""
        text = self.run("return document.getElementById('code').textContent")
        (line,) = [line for line in text.splitlines() if line.strip().startswith("schedule = ")]
        return eval(line.partition(" = ")[2], {"cr": cr})

    def rates(self, steps: list[int]) -> list[float]:
        """The rates that the page draws, at some steps."""
        script = "return arguments[0].map(document.getElementById('design').rateAt)"
        return self.run(script, steps)

    def violations(self) -> list[Any]:
        """The rules of accessibility that the page breaks, and where, by axe-core."""
        # Through the DevTools: the page itself would not let another script run.
        self.tell("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
        script = """axe.run().then((found) => JSON.stringify(
            found.violations.map((one) => [one.id, one.nodes.map((node) => node.html)])))"""
        found = self.tell("Runtime.evaluate", {"expression": script, "awaitPromise": True})
        return json.loads(found["result"]["value"])

    def complaints(self) -> list[str]:
        """What the console says."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """The kinds of addresses that were asked for."""
        entries = (json.loads(one["message"]) for one in self.driver.get_log("performance"))
        sent = [
            e["message"] for e in entries if e["message"]["method"] == "Network.requestWillBeSent"
        ]
        return {urlsplit(one["params"]["request"]["url"]).scheme for one in sent}


SET = """
const control = document.getElementById("design").elements[arguments[0]];
if (control.type === "checkbox") control.checked = arguments[1];
else control.value = arguments[1];
control.dispatchEvent(new Event("input", { bubbles: true }));
"""


@contextmanager
def chromium(webdriver: Any, profile: Path) -> Generator[Browser]:
    """A browser that ends with the block, and keeps nothing."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
