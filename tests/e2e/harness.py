"""What the end-to-end tests share: a hark process on free ports, a webhook sink, remote write."""
import http.client
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / "build/peers"
BINARY = ROOT / "build/hark"
WAIT_S = 30


def wait_for(condition, what, seconds=WAIT_S):
    """Polls until `condition()` is true and gives its value; fails with `what` after a long time."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.01)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Hark:
    """A server with its own data folder. Use as a context manager."""

    def __init__(self, config="", flags=(), files=None, data=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hark-e2e-"))
        self.data = data or self.folder / "data"
        self.flags = list(flags)
        self.config = self.folder / "hark.yml"
        self.config.write_text(config or "host_metrics: {enabled: false}\n")
        for name, text in (files or {}).items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.process = None
        self.ports = {}

    def start(self, wait=True):
        port_file = self.folder / "ports.json"
        port_file.unlink(missing_ok=True)
        self.log = open(self.folder / "hark.log", "ab")
        listen = [word for flag in ("--http", "--otlp-grpc", "--otlp-http")
                  if flag not in self.flags for word in (flag, "127.0.0.1:0")]
        self.process = subprocess.Popen(
            [str(BINARY), "serve", "--config", str(self.config), "--data", str(self.data),
             "--port-file", str(port_file), *listen, *self.flags],
            stdout=self.log, stderr=self.log, cwd=self.folder)
        if not wait:
            return self

        def listening():
            if self.process.poll() is not None:
                raise AssertionError(f"hark ended with {self.process.returncode}:\n{self.output()}")
            return port_file.exists()
        wait_for(listening, "the port file")
        self.ports = json.loads(port_file.read_text())
        return self

    def output(self):
        return (self.folder / "hark.log").read_text(errors="replace")

    def request(self, method, path, body=None, headers=None, port="http"):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, dict((k.lower(), v) for k, v in answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, path):
        status, _, body = self.request("GET", path)
        assert status == 200, (path, status, body[:500])
        return json.loads(body)

    def query(self, expression, at=None):
        """Result of an instant query: {labels as a sorted tuple: value}."""
        parameters = {"query": expression}
        if at is not None:
            parameters["time"] = f"{at:.3f}"
        answer = self.get("/api/v1/query?" + urllib.parse.urlencode(parameters))
        data = answer["data"]
        if data["resultType"] in ("scalar", "string"):
            return data["result"][1]
        return {tuple(sorted(row["metric"].items())): float(row["value"][1])
                for row in data["result"] if "value" in row}

    def value(self, expression, at=None):
        """The one value of an instant query, None when there is none."""
        rows = self.query(expression, at)
        assert len(rows) <= 1, rows
        return next(iter(rows.values()), None)

    def ledger(self):
        accounts = self.get("/api/hark/v1/ledger")["accounts"]
        return {account["receiver"]: account for account in accounts}

    def check_ledger(self):
        """Waits until nothing is in flight; every account must balance."""
        wait_for(lambda: all(a["in_flight"] == 0 for a in self.ledger().values()), "an idle ledger")
        for account in self.ledger().values():
            dropped = sum(account["dropped"].values())
            assert account["received"] == account["stored"] + dropped, account
        return self.ledger()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise AssertionError("SIGTERM did not end hark within 30 s\n" + self.output())
            assert self.process.returncode == 0, (self.process.returncode, self.output())

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.stop()
        finally:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if kind is not None:
                print("---- output of hark\n" + self.output()[-4000:])
            shutil.rmtree(self.folder, ignore_errors=True)


class Sink:
    """A webhook receiver: keeps what was posted."""

    def __init__(self, status=200, port=0):
        outer = self
        self.posts, self.status, self.changed = [], status, threading.Condition()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with outer.changed:
                    outer.posts.append((self.path, dict(self.headers), json.loads(body)))
                    outer.changed.notify_all()
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None  # a sender that was killed
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, count, seconds=WAIT_S):
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.posts) >= count, seconds):
                raise AssertionError(f"{len(self.posts)} of {count} notifications after {seconds} s")
            return list(self.posts)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()


# ---------------------------------------------------------------------- protobuf and snappy by hand

def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def snappy(data):
    """A valid snappy block of literals."""
    out = bytearray(varint(len(data)))
    for at in range(0, len(data), 65536):
        part = data[at:at + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return bytes(out)


def sample(value, stamp_ms):
    return field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(stamp_ms & (1 << 64) - 1))


def write_request(series):
    """Remote Write 1.0 body of [(labels, [(value, stamp_ms), …]), …], not compressed."""
    out = bytearray()
    for labels, samples in series:
        one = b"".join(field(1, field(1, k.encode()) + field(2, v.encode()))
                       for k, v in sorted(labels.items()))
        one += b"".join(sample(value, stamp) for value, stamp in samples)
        out += field(1, one)
    return bytes(out)


WRITE_HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def remote_write(hark, series):
    """Sends and gives the status."""
    return hark.request("POST", "/api/v1/write", snappy(write_request(series)), WRITE_HEADERS)[0]


def now_ms():
    return int(time.time() * 1000)


def peer(name, path):
    """Path of a program of another server, unpacked by ./dev deps."""
    found = PEERS / name / path
    if not found.exists():
        raise AssertionError(f"{found} is missing: ./dev deps unpacks it")
    return str(found)


class Program:
    """Another program, ended with the block. Its output goes to a file in `folder`, which is
    removed when it was made here."""

    def __init__(self, *command, folder=None, files=None):
        self.own = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="hark-peer-"))
        for name, text in (files or {}).items():
            (self.folder / name).write_text(text)
        self.command = [str(word) for word in command]
        self.process = None

    def output(self):
        return (self.folder / "output.log").read_text(errors="replace")

    def alive(self):
        """For use in conditions: fails at once when the program ended."""
        code = self.process.poll()
        assert code is None, f"{self.command[0]} ended with {code}:\n{self.output()[-3000:]}"
        return True

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        with open(self.folder / "output.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.kill()
        if kind is not None:
            print(f"---- output of {self.command[0]}\n" + self.output()[-2000:])
        if self.own:
            shutil.rmtree(self.folder, ignore_errors=True)


def fetch(url, timeout=10):
    """Body of a GET as text, None while nobody answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.read().decode()
    except OSError:
        return None
