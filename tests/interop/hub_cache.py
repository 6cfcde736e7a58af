"""The cache that defrost and huggingface_hub share: `python hub_cache.py DEFROST`.

pip install huggingface_hub==2.4.0. A local server answers as the hub does (docs/weights.md). What one of both fetches, the
other finds without a connection, and neither fetches it again.
"""

import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

defrost = sys.argv[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = bytes(range(256)) * 4000
SMALL = b"small"
FILES = {"me/net": {"model.safetensors": LARGE, "config.json": b"{}"}, "me/small": {"pytorch_model.bin": SMALL}}
requests = []


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        requests.append((self.command, self.path))
        parts = self.path.split("/")
        if parts[1] == "storage":
            return self.answer(200, {}, LARGE)
        repository, name = "/".join(parts[1:3]), "/".join(parts[5:])
        if repository not in FILES:
            return self.answer(404, {})
        body = FILES[repository].get(name)
        commit = {"X-Repo-Commit": COMMIT}
        if body is None:
            return self.answer(404, commit | {"X-Error-Code": "EntryNotFound"})
        if body is not LARGE:
            blob = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            return self.answer(200, commit | {"ETag": f'"{blob}"'}, body)
        linked = {"X-Linked-Etag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Linked-Size": str(len(body))}
        storage = f"http://localhost:{server.server_port}/storage/x"
        return self.answer(302, commit | linked | {"Location": storage})

    do_HEAD = do_GET


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()

PYTHON = """
import json, sys
from huggingface_hub import hf_hub_download, try_to_load_from_cache
offline = sys.argv[1] == "offline"
for repository, name in [("me/net", "model.safetensors"), ("me/small", "pytorch_model.bin")]:
    path = hf_hub_download(repository, name, local_files_only=offline)
    assert try_to_load_from_cache(repository, name) == path
    print(path)
"""


def environment(home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_", "HTTP", "http"))}
    return kept | {"HOME": str(home), "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "NO_PROXY": "*"}


def by_python(home, mode):
    command = [sys.executable, "-c", PYTHON, mode]
    return subprocess.run(command, env=environment(home), check=True, capture_output=True, text=True).stdout.split()


def by_defrost(home, **extra):
    names = ["hf://me/net", "hf://me/small/pytorch_model.bin"]
    command = [defrost, "weights", "fetch", *names, "--json"]
    done = subprocess.run(command, env=environment(home) | extra, check=True, capture_output=True, text=True)
    return [entry["path"] for entry in json.loads(done.stdout)["weights"]]


def tree(home):
    hub = pathlib.Path(home, ".cache/huggingface/hub")
    for path in sorted(hub.rglob("*")):
        name = path.relative_to(hub)
        if path.is_symlink():
            yield name, os.readlink(path)
        elif path.is_file() and name.suffix != ".lock" and ".no_exist" not in name.parts:
            yield name, path.read_bytes()


with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
    own = by_defrost(first)
    assert by_python(first, "offline") == own
    theirs = by_python(second, "online")
    count = len(requests)
    assert by_defrost(second, HF_HUB_OFFLINE="1") == theirs
    assert len(requests) == count, requests[count:]
    for paths in (own, theirs):
        assert [pathlib.Path(path).read_bytes() for path in paths] == [LARGE, SMALL]
    blobs = [{name: content for name, content in tree(home) if "models--" in str(name)} for home in (first, second)]
    assert blobs[0] == blobs[1], (blobs[0].keys(), blobs[1].keys())
print("hub cache: both find what the other fetched, and the files of both caches are equal")
