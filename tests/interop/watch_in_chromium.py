"""Follows a run with `defrost watch` in headless Chromium, over its DevTools protocol.

    python tests/interop/watch_in_chromium.py target/release/defrost

Needs `chromium` on the path, and no Python package: the protocol is spoken over pipes.
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

PIPELINE = """name = "seen"
[data.photos]
format = "image_folder"
root = "photos"
split = { validation = 0.3 }
image_size = 32
[model.net]
arch = "resnet18"
[stage.random]
kind = "init_weights"
[stage.fit]
kind = "train"
from = "random"
train = ["@head"]
epochs = 3
batch_size = 3
optimizer = { kind = "sgd", lr = 1e-3 }
"""
PATIENCE = 120
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
]


class Browser:
    """One page of a browser that reads commands from file descriptor 3 and writes to 4, each ended by a zero byte."""

    def __init__(self, program, folder):
        to_browser, self.commands = os.pipe()
        self.events, from_browser = os.pipe()

        def start():
            # Neither copy may overwrite the other pipe.
            ends = [os.dup(to_browser), os.dup(from_browser)]
            os.dup2(ends[0], 3), os.dup2(ends[1], 4)

        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=start,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.rest, self.count, self.session, self.seen = b"", 0, None, []
        target = next(t for t in self("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            reply = self.receive()
            if reply.get("id") == self.count:
                if "error" in reply:
                    raise SystemExit(f"{method}: {reply['error']}")
                return reply["result"]
            self.seen.append(reply)

    def receive(self):
        while b"\0" not in self.rest:
            read = os.read(self.events, 1 << 16)
            if not read:
                raise SystemExit("the browser has ended")
            self.rest += read
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def value(self, expression):
        result = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise SystemExit(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, expression, what):
        begun = time.monotonic()
        while not self.value(expression):
            if time.monotonic() - begun > PATIENCE:
                raise SystemExit(f"{what}: {self.value('document.body.innerText')}")
            time.sleep(0.1)

    def problems(self):
        """Errors of scripts, refused loads, and requests to other machines."""
        found = []
        for event in self.seen:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"]["text"])
            if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(f"{params['entry']['text']} {params['entry'].get('url')}")
            if event.get("method") == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("http://127.0.0.1:", "data:", "about:")):
                    found.append(f"a request to {url}")
        # Browsers ask for it by themselves.
        return [problem for problem in found if "favicon.ico" not in problem]

    def close(self):
        self.process.kill()
        self.process.wait()


def photos(folder):
    """Noise in two classes, as PPM files."""
    rng = random.Random(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            (folder / name / f"{number}.ppm").write_bytes(b"P6 40 32 255\n" + rng.randbytes(40 * 32 * 3))


def main():
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if not program:
        print("interop: watch passed over, chromium is not installed", file=sys.stderr)
        return
    defrost = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        work = pathlib.Path(work)
        photos(work / "photos")
        (work / "runs").mkdir()
        pipeline = work / "seen.toml"
        pipeline.write_text(PIPELINE)
        watch = subprocess.Popen(
            [defrost, "watch", "--port", "0", "--runs-dir", work / "runs"],
            stderr=subprocess.PIPE,
            text=True,
        )
        address = watch.stderr.readline().strip()
        browser = Browser(program, work / "profile")
        try:
            follow(browser, address, defrost, pipeline, watch)
        finally:
            browser.close()
            watch.kill()
            watch.wait()
    print("1 passed, 0 failed")


def follow(browser, address, defrost, pipeline, watch):
    browser("Page.navigate", url=address)
    browser.until("document.body?.innerText.includes('No runs yet')", "the empty list")
    done = subprocess.run([defrost, "run", pipeline], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The page was not loaded again: its script has followed.
    browser.until("document.querySelector('.tag.complete') !== null", "the finished run in the list")
    assert browser.value("performance.getEntriesByType('navigation').length") == 1
    browser.value("document.querySelector('td a').click()")
    browser.until("document.querySelector('a[href=\"report.html\"]') !== null", "the page of the run")
    browser.until("document.querySelectorAll('main svg').length >= 1", "the curves")
    browser.value("document.querySelector('a[href=\"report.html\"]').click()")
    browser.until("document.body?.innerText.includes('Sample images')", "the report")
    assert browser.value("[...document.images].every((image) => image.naturalWidth > 0)"), "pictures"
    for width in (1200, 390):
        browser("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        wide = browser.value("document.documentElement.scrollWidth")
        assert wide <= width, f"the report is {wide} pixels wide on a screen of {width}"
    link = "[...document.querySelectorAll('a')].find((a) => a.textContent === 'history.csv').href"
    text = browser.value(f"fetch({link}).then((answer) => answer.text()).catch(() => 'refused')")
    assert text == "refused", "the report may load nothing"
    browser("Page.navigate", url=browser.value(link))
    browser.until("document.body?.innerText.startsWith('epoch,')", "a linked file")
    problems = [problem for problem in browser.problems() if "Content Security Policy" not in problem]
    assert not problems, problems

    # A page stays as it was when the server ends, and says so.
    browser("Page.navigate", url=address)
    browser.until("document.querySelector('.tag.complete') !== null", "the list again")
    watch.kill()
    watch.wait()
    browser.until("document.getElementById('offline').hidden === false", "the notice")
    assert browser.value("document.querySelector('.tag.complete') !== null")


main()
