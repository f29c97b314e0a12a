#!/usr/bin/env python3
"""The table of the goals: hark, and Prometheus and VictoriaMetrics under the same load in the same
run. CPU seconds are the kernel's account of the server process; server and load are pinned to
different CPUs where there are two. Writes build/bench-results.json. See bench/README.md."""
import argparse
import contextlib
import gc
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[1]
QUERY_RATE = "sum by (mode)(rate(node_cpu_seconds_total[5m]))"
QUERY_REGEXP = 'count({device=~"device-.*[0-9]"})'
QUERY_RANGE = 'sum by (mode)({job="node-exporter"})'
QUERY_RANGE_RAW = '{job="node-exporter"}'
TWO_CPUS = len(os.sched_getaffinity(0)) >= 2


def pinned(cpu, command):
    return ["taskset", "-c", str(cpu), *map(str, command)] if TWO_CPUS else list(map(str, command))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid):
    """Anonymous and shared memory; `rss` holds the mapped files too."""
    lines = dict(line.split(":", 1) for line in
                 pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    kib = {name: int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem", "VmRSS")}
    return {"own": kib["RssAnon"] + kib["RssShmem"], "rss": kib["VmRSS"]}


def tree_bytes(folder, keep=lambda path: True):
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and keep(path):
                total += path.stat().st_size
    return total


class Server:
    """A server with its own data folder, on free ports of loopback; a context manager."""
    name, write_path = "", "/api/v1/write"

    def __init__(self, options):
        self.options = options
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hark-bench-", dir=options.scratch))
        self.data = self.folder / "data"
        self.process = None
        self.port = 0
        self.prepare()

    def prepare(self):
        pass

    def start(self):
        begun = time.monotonic()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(pinned(0, self.command()), stdout=log, stderr=log,
                                            cwd=self.folder)
        self.wait_ready()
        return (time.monotonic() - begun) * 1000

    def wait_ready(self):
        end = time.monotonic() + 120
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended:\n" +
                                   (self.folder / "log").read_text()[-2000:])
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError):
                if self.http("GET", self.ready_path)[0] == 200:
                    return
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} is not ready after 120 s")
            time.sleep(0.002)

    ready_path = "/-/ready"

    def http(self, method, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def load(self, series, rounds, order="ordered", connections=2, age=0):
        run = subprocess.run(
            pinned(1, [self.options.build / "bench/bench_load", self.port, self.write_path,
                       self.process.pid, series, rounds, connections, order, age]),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if not run.stdout:
            raise RuntimeError(f"bench_load against {self.name}: {run.stderr}")
        return json.loads(run.stdout)

    def query_ms(self, path, parameters, times=7):
        """Median and least time of a query, on one connection, and the length of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        path += "?" + urllib.parse.urlencode(parameters)
        took = []
        gc.disable()
        for _ in range(times):
            begun = time.monotonic()
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            took.append((time.monotonic() - begun) * 1000)
            if answer.status != 200:
                return {"error": body[:200].decode(errors="replace")}
        gc.enable()
        connection.close()
        result = json.loads(body)["data"]["result"]
        first = result[0].get("value", [0, len(result)])[1] if result else None
        return {"median_ms": statistics.median(took), "least_ms": min(took), "rows": len(result),
                "bytes": len(body), "first": first}

    def instant(self, query, at):
        return self.query_ms("/api/v1/query", {"query": query, "time": f"{at:.3f}"})

    def range(self, query, end, seconds):
        return self.query_ms("/api/v1/query_range", {
            "query": query, "start": f"{end - seconds:.3f}", "end": f"{end:.3f}", "step": "15"})

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Hark(Server):
    name = "hark"
    host_metrics = "{enabled: false}"
    hook_port = 0
    rules = True
    flags = ()

    def __init__(self, options, **settings):
        for key, value in settings.items():
            setattr(self, key, value)
        super().__init__(options)

    def prepare(self):
        text = f"host_metrics: {self.host_metrics}\n"
        files = []
        if self.rules:
            files.append(str(ROOT / "bench/rules.yml"))
        if self.hook_port:
            (self.folder / "crossing.yml").write_text(
                "groups:\n- name: crossing\n  rules:\n"
                "  - {alert: Crossing, expr: 'crossing > 100'}\n")
            files.append(str(self.folder / "crossing.yml"))
            text += ("alertmanager:\n  route: {receiver: ops, group_by: ['...'], group_wait: 0s}\n"
                     "  receivers:\n  - name: ops\n    webhook_configs: "
                     f"[{{url: 'http://127.0.0.1:{self.hook_port}/hook'}}]\n")
        text += f"rule_files: {json.dumps(files)}\n"
        (self.folder / "hark.yml").write_text(text)

    def command(self):
        (self.folder / "ports.json").unlink(missing_ok=True)
        return [self.options.build / "hark", "serve", "--config", self.folder / "hark.yml",
                "--data", self.data, "--http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0",
                "--otlp-http", "127.0.0.1:0", "--port-file", self.folder / "ports.json",
                *self.flags]

    def http(self, method, path):
        if not self.port or path == self.ready_path:
            self.port = json.loads((self.folder / "ports.json").read_text())["http"]
        return super().http(method, path)

    def disk(self, samples):
        """Bytes per sample of blocks and index after a drain, and of the log apart."""
        self.stop()
        logs = tree_bytes(self.data, lambda path: "wal" in str(path.relative_to(self.data)))
        return {"bytes_per_sample": (tree_bytes(self.data) - logs) / samples,
                "log_bytes_per_sample": logs / samples}


class Prometheus(Server):
    name = "prometheus"
    rules = True

    def __init__(self, options, **settings):
        self.rules = settings.get("rules", True)
        super().__init__(options)

    def prepare(self):
        files = [str(ROOT / "bench/rules.yml")] if self.rules else []
        (self.folder / "prometheus.yml").write_text(
            f"global: {{evaluation_interval: 15s}}\nrule_files: {json.dumps(files)}\n"
            "storage: {tsdb: {out_of_order_time_window: 12h}}\n")
        self.port = free_port()

    def command(self):
        return [self.options.peers / "prometheus/usr/bin/prometheus",
                "--config.file", self.folder / "prometheus.yml", "--storage.tsdb.path", self.data,
                "--web.listen-address", f"127.0.0.1:{self.port}",
                "--web.enable-remote-write-receiver", "--web.enable-admin-api",
                "--log.level", "warn"]

    def disk(self, samples):
        """A snapshot writes the head as blocks."""
        status, body = self.http("POST", "/api/v1/admin/tsdb/snapshot")
        if status != 200:
            return {"error": body[:200].decode(errors="replace")}
        logs = tree_bytes(self.data, lambda path: "wal" in str(path.relative_to(self.data)) or
                          "wbl" in str(path.relative_to(self.data)))
        name = json.loads(body)["data"]["name"]
        return {"bytes_per_sample": tree_bytes(self.data / "snapshots" / name) / samples,
                "log_bytes_per_sample": logs / samples}


class VictoriaMetrics(Server):
    """Has no rules of its own: they are a second program, vmalert, left out."""
    name = "victoria-metrics"
    ready_path = "/health"

    def __init__(self, options, **_):
        super().__init__(options)

    def prepare(self):
        self.port = free_port()

    def command(self):
        return [self.options.peers / "victoria-metrics/usr/bin/victoria-metrics",
                f"-storageDataPath={self.data}", f"-httpListenAddr=127.0.0.1:{self.port}",
                "-retentionPeriod=12", "-search.latencyOffset=0s", "-search.disableCache",
                "-search.maxUniqueTimeseries=3000000", "-loggerLevel=WARN"]

    def instant(self, query, at):
        self.http("GET", "/internal/force_flush")
        return super().instant(query, at)

    def range(self, query, end, seconds):
        self.http("GET", "/internal/force_flush")
        return super().range(query, end, seconds)

    def disk(self, samples):
        self.http("GET", "/internal/force_flush")
        self.http("GET", "/internal/force_merge")
        time.sleep(5)
        self.stop()
        return {"bytes_per_sample": tree_bytes(self.data) / samples, "log_bytes_per_sample": 0}


# ------------------------------------------------------------------------------------------ rows

def bench_ingest(kind, size):
    """Registers the series in a run of its own, then measures the rounds."""
    found = {}
    for order in ("ordered", "shuffled"):
        with kind(size) as server:
            server.load(size.series, 1, age=15 * size.rounds)
            found[order] = server.load(size.series, size.rounds, order)
            if order == "ordered":
                now = time.time()
                found["query_rate"] = server.instant(QUERY_RATE, now)
                found["query_regexp"] = server.instant(QUERY_REGEXP, now)
    return found


def bench_series(kind, size):
    """New series: CPU of one round, memory, time until ready after kill -9; without rules."""
    with kind(size, rules=False) as server:
        before = memory_bytes(server.process.pid)["own"]
        run = server.load(size.new_series, 1)
        time.sleep(1)
        after = memory_bytes(server.process.pid)
        server.kill()
        cpu_before = time.monotonic()
        restart_ms = server.start()
        return {"us_per_series": run["cpu_seconds"] / run["samples"] * 1e6, "load": run,
                "bytes_per_series": (after["own"] - before) / run["samples"],
                "own_bytes": after["own"], "restart_ms": restart_ms,
                "restart_wall_s": time.monotonic() - cpu_before,
                "restart_cpu_s": cpu_seconds(server.process.pid)}


def bench_range(kind, size):
    """100 series, 6 h at 15 s, written as fast as it goes."""
    with kind(size, rules=False) as server:
        server.load(100, 1441, connections=1)
        now = time.time()
        return {"sum": server.range(QUERY_RANGE, now, 21600),
                "raw": server.range(QUERY_RANGE_RAW, now, 21600)}


def bench_disk(kind, size):
    with kind(size, rules=False) as server:
        run = server.load(size.disk_series, 1024, connections=1)
        return server.disk(run["samples"])


def bench_idle(kind, size):
    settings = {"host_metrics": "{enabled: true, interval: 1s}"} if kind is Hark else {}
    with kind(size, rules=False, **settings) as server:
        time.sleep(2)
        before, begun = cpu_seconds(server.process.pid), time.monotonic()
        time.sleep(size.idle_seconds)
        took = time.monotonic() - begun
        memory = memory_bytes(server.process.pid)
        return {"cpu_percent": (cpu_seconds(server.process.pid) - before) / took * 100,
                "rss_mb": memory["rss"] / 1e6, "own_mb": memory["own"] / 1e6}


def bench_latency(size, spin, bodies):
    port = free_port()
    server = Hark(size, hook_port=port, flags=("--spin", spin))
    client = None
    try:
        client = subprocess.Popen(
            pinned(1, [size.build / "bench/bench_latency", port, server.folder / "ports.json",
                       size.crossings, bodies]), stdout=subprocess.PIPE, text=True)
        server.start()
        output, _ = client.communicate(timeout=120 + size.crossings)
        return json.loads(output) if output else {"error": f"exit {client.returncode}"}
    except subprocess.TimeoutExpired:
        return {"error": "no end"}
    finally:
        if client and client.poll() is None:
            client.kill()
            client.wait()
        server.__exit__()


GUARDED = []


def guarded(what, run):
    """A row that fails does not end the others."""
    load = os.getloadavg()[0]
    begun = time.monotonic()
    try:
        found = run()
    except Exception as error:
        found = {"error": str(error)[-500:]}
    GUARDED.append({"row": what, "loadavg": load, "seconds": time.monotonic() - begun})
    print(f"  {what}: {GUARDED[-1]['seconds']:.1f} s, loadavg {load:.1f}", file=sys.stderr)
    return found


def value_at(found, *path):
    for key in path:
        if not isinstance(found, dict) or found.get(key) is None:
            return None
        found = found[key]
    return found


# title, where it is found, scale, unit, goal
ROWS = [
    ("remote write, stable order, rules", ("ingest", "ordered", "samples_per_cpu_second"), 1e-3,
     "k/CPU-s", ">= 7,000; 40x and 10x the peers"),
    ("remote write, shuffled, rules", ("ingest", "shuffled", "samples_per_cpu_second"), 1e-3,
     "k/CPU-s", "reported"),
    ("new series, CPU", ("series", "us_per_series"), 1, "us", "<= 2"),
    ("memory per active series", ("series", "bytes_per_series"), 1, "B", "<= 300"),
    ("restart after kill -9", ("series", "restart_ms"), 1, "ms", "<= 1,000"),
    ("sum by (mode)(rate(x[5m]))", ("ingest", "query_rate", "median_ms"), 1, "ms", "<= 10"),
    ("regexp over all series", ("ingest", "query_regexp", "median_ms"), 1, "ms", "<= 40"),
    ("6 h at 15 s, 100 series, sum by", ("range", "sum", "median_ms"), 1, "ms", "<= 4"),
    ("6 h at 15 s, 100 series, raw", ("range", "raw", "median_ms"), 1, "ms", "reported"),
    ("disk per sample", ("disk", "bytes_per_sample"), 1, "B", "<= 0.5"),
    ("log per sample", ("disk", "log_bytes_per_sample"), 1, "B", "bounded"),
    ("idle, RSS", ("idle", "rss_mb"), 1, "MB", "< 15"),
    ("idle, CPU", ("idle", "cpu_percent"), 1, "%", "< 1"),
    ("alert under load, spinning, p50", ("latency_always", "p50_us"), 1, "us", "<= 15"),
    ("alert under load, spinning, p99", ("latency_always", "p99_us"), 1, "us", "<= 150"),
    ("alert under load, adaptive, p50", ("latency_adaptive", "p50_us"), 1, "us", "reported"),
    ("alert under load, adaptive, p99", ("latency_adaptive", "p99_us"), 1, "us", "reported"),
    ("alert under load, blocking, p50", ("latency_off", "p50_us"), 1, "us", "<= 60"),
    ("alert under load, blocking, p99", ("latency_off", "p99_us"), 1, "us", "<= 300"),
]


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def print_table(results, names):
    print(f"{'':36}" + "".join(f"{name:>18}" for name in names) + "  unit     goal")
    for title, path, scale, unit, goal in ROWS:
        cells = []
        for name in names:
            value = value_at(results["servers"][name], *path)
            cells.append(f"{number(None if value is None else value * scale):>18}")
        print(f"{title:36}" + "".join(cells) + f"  {unit:8} {goal}")
    for name in names:
        for part, found in results["servers"][name].items():
            if value_at(found, "error"):
                print(f"{name}: {part}: {found['error']}")
            refused = [order for order in ("ordered", "shuffled")
                       if value_at(found, order, "refused")]
            if refused:
                print(f"{name}: {part}: requests refused in {', '.join(refused)}")
    print("victoria-metrics runs without rules: it has none of its own.")
    loud = [row["row"] for row in GUARDED if row["loadavg"] > 1.5]
    if loud:
        print(f"The machine was loaded (loadavg over 1.5) before {len(loud)} of {len(GUARDED)} "
              "rows: figures per CPU-second suffer, latencies say little.")
    if not TWO_CPUS:
        print("One CPU only: server and load share it.")


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help="ingest series range disk idle latency; default all")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--peers", type=pathlib.Path, default=ROOT / "build/peers")
    parser.add_argument("--scratch", help="folder for the data of the servers; a disk, not tmpfs")
    parser.add_argument("--small", action="store_true", help="smaller sizes, for a quick look")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--only", help="one server by its name")
    options = parser.parse_args()
    small = options.small
    options.build, options.peers = options.build.resolve(), options.peers.resolve()
    options.series = 20000 if small else 100000
    options.rounds = 21
    options.new_series = 100000 if small else 1000000
    options.disk_series = 200 if small else 4000
    options.idle_seconds = 5 if small else 20
    options.crossings = 100 if small else 200
    return options


def write(results):
    """After each row, so that a run that is ended leaves what it has."""
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build/bench-results.json").write_text(json.dumps(results, indent=1) + "\n")


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are stopped on the way out
    kinds = [Hark] if options.no_peers else [Hark, Prometheus, VictoriaMetrics]
    kinds = [kind for kind in kinds if options.only in (None, kind.name)]
    results = {"small": options.small, "loadavg": os.getloadavg(), "cpus": os.cpu_count(),
               "kernel": os.uname().release, "servers": {}}
    parts = {"ingest": bench_ingest, "range": bench_range, "disk": bench_disk,
             "series": bench_series, "idle": bench_idle}
    names = [kind.name for kind in kinds]
    for kind in kinds:
        found = results["servers"][kind.name] = {}
        for part, run in parts.items():
            if not options.rows or part in options.rows:
                found[part] = guarded(f"{kind.name} {part}", lambda run=run: run(kind, options))
                write(results)
    if Hark in kinds and (not options.rows or "latency" in options.rows):
        for spin in ("always", "adaptive", "off"):
            results["servers"]["hark"][f"latency_{spin}"] = guarded(
                f"hark latency {spin}", lambda: bench_latency(options, spin, 50))
    results["rows"] = GUARDED
    print_table(results, names)
    write(results)


if __name__ == "__main__":
    main()
