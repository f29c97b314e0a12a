"""The command line against files and a running server; its exit codes."""
import csv
import io
import json
import os
import re
import subprocess
import termios

import harness
from harness import Hark, Program, free_port, now_ms, peer, remote_write, wait_for

GOOD = """global:
  scrape_interval: 15s
  evaluation_interval: 15s
remote_write:
- url: http://other.example/write
rule_files: [rules.yml]
scrape_configs:
- job_name: api
  metrics_path: /stats
  kubernetes_sd_configs:
  - role: pod
- job_name: nodes
  static_configs: [{targets: ['127.0.0.1:1']}]
"""

RULES = """groups:
- name: g
  interval: 1s
  rules:
  - alert: Hot
    expr: temperature > 100
  - alert: Missing
    expr: absent(temperature)
  - record: heat:sum
    expr: sum(temperature)
"""


def hark_cli(*arguments, folder=None, server=None):
    environment = {"PATH": "/usr/bin:/bin"}
    if server:
        environment["HARK_SERVER"] = server
    run = subprocess.run([str(harness.BINARY), *arguments], capture_output=True, text=True,
                         stdin=subprocess.DEVNULL, timeout=60, cwd=folder, env=environment)
    return run.returncode, run.stdout, run.stderr


def test_check():
    hark = Hark(GOOD, files={"rules.yml": RULES})
    try:
        code, out, err = hark_cli("check", "hark.yml", folder=hark.folder)
        assert code == 0, (code, out, err)
        assert "hark.yml: fine" in out and "warning" in out, out
        assert re.search(r"hark\.yml:4:\d+: warning: .*remote_write", err), err
        assert re.search(r"hark\.yml:10:\d+: warning: .*kubernetes_sd_configs", err), err
        assert hark_cli("check", "config", "hark.yml", folder=hark.folder)[0] == 0

        (hark.folder / "bad.yml").write_text("global:\n  scrape_intervall: 15s\n")
        code, out, err = hark_cli("check", "bad.yml", folder=hark.folder)
        assert code == 1, (code, out, err)
        assert "bad.yml:2:3: " in err and "scrape_intervall" in err, err
        assert re.search(r"scrape_interval\b", err.replace("scrape_intervall", "")), err

        (hark.folder / "worse.yml").write_text("global: {scrape_interval: soon}\nscrape_configs:\n- {}\n")
        code, out, err = hark_cli("check", "worse.yml", folder=hark.folder)
        assert code == 1 and "worse.yml:1:27: " in err and "job_name" in err, (code, out, err)

        code, out, err = hark_cli("check", "rules", "rules.yml", folder=hark.folder)
        assert code == 0 and "2 alerts" in out and "1 recording rule" in out, (code, out, err)
        (hark.folder / "rules.yml").write_text(RULES.replace("sum(temperature)", "sum(temperature"))
        code, out, err = hark_cli("check", "hark.yml", folder=hark.folder)
        assert code == 1 and "rules.yml:10:" in err, (code, out, err)

        code, out, err = hark_cli("check", "none.yml", folder=hark.folder)
        assert code == 1 and "none.yml" in err, (code, out, err)
        # serve refuses what check refuses, with the same words.
        (hark.folder / "hark.yml").write_text("retentoin: 5d\n")
        hark.start(wait=False)
        assert hark.process.wait(20) == 1
        assert "hark.yml:1:1: " in hark.output() and "retention" in hark.output(), hark.output()
    finally:
        if hark.process and hark.process.poll() is None:
            hark.kill()
        hark.__exit__(None, None, None)


def test_clients():
    binary = peer("prometheus-node-exporter", "usr/bin/prometheus-node-exporter")
    port = free_port()
    config = f"""
host_metrics: {{enabled: false}}
rule_files: [rules.yml]
scrape_configs:
- job_name: node
  scrape_interval: 200ms
  static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""
    with Program(binary, f"--web.listen-address=127.0.0.1:{port}", "--collector.disable-defaults",
                 "--collector.loadavg") as exporter, \
            Hark(config, files={"rules.yml": RULES}) as hark:
        server = f"http://127.0.0.1:{hark.ports['http']}"
        assert remote_write(hark, [({"__name__": "temperature", "room": "a"}, [(120.0, now_ms())])]) == 204

        def is_up():
            exporter.alive()
            return hark.value("up") == 1.0

        wait_for(is_up, "up == 1")

        def run(*arguments):
            code, out, err = hark_cli(*arguments, server=server)
            assert code == 0, (arguments, code, out, err)
            return out

        out = run("query", "up")
        assert "job" in out and "node" in out and f"127.0.0.1:{port}" in out, out
        answer = json.loads(run("query", "up", "--output", "json"))
        row, = answer["data"]["result"]
        assert row["metric"]["job"] == "node" and row["value"][1] == "1", answer
        rows = list(csv.reader(io.StringIO(run("query", "up", "--output", "csv"))))
        assert rows[0] == ["series", "time", "value"] and len(rows) == 2, rows
        assert rows[1][0].startswith("up{") and rows[1][2] == "1", rows
        rows = list(csv.reader(io.StringIO(
            run("query", "temperature * 2", "--range", "10s", "--step", "1s", "--output", "csv"))))
        assert len(rows) >= 2, rows
        assert run("query", "1 + 1", "--server", server).split()[-1] == "2"
        out = run("ledger")
        assert "remote_write" in out and "scrape" in out, out
        accounts = json.loads(run("ledger", "--output", "json"))["accounts"]
        assert {a["receiver"] for a in accounts} >= {"remote_write", "scrape"}, accounts
        out = run("lag")
        assert all(hop in out for hop in ("decided", "durable", "visible")), out
        out = run("targets")
        assert "node" in out and "up" in out and f"127.0.0.1:{port}" in out, out
        out = run("rules")
        assert "Hot" in out and "arrival" in out and "heat:sum" in out and "tick" in out, out
        wait_for(lambda: "Hot" in run("alerts"), "the alert")
        assert run("ready")
        code, out, err = hark_cli("query", "sum(", server=server)
        assert code == 1 and not out and "1:" in err, (code, out, err)
        # Something else than hark answers there.
        code, out, err = hark_cli("query", "up", server=f"http://127.0.0.1:{port}")
        assert code in (1, 3) and not out and err, (code, out, err)


def test_exit_codes():
    code, out, err = hark_cli("version")
    assert code == 0 and re.match(r"hark \S+", out) and not err, (code, out, err)
    code, out, err = hark_cli("qery", "up")
    assert code == 2 and "query" in err and not out, (code, out, err)
    assert hark_cli()[0] in (0, 2)
    assert hark_cli("help")[0] == 0
    for arguments in (("query",), ("query", "up", "--output", "xml"), ("query", "up", "--none"),
                      ("ledger", "more"), ("check",), ("serve", "--http")):
        code, out, err = hark_cli(*arguments)
        assert code == 2 and err, (arguments, code, out, err)
    nobody = f"http://127.0.0.1:{free_port()}"
    for command in (("query", "up"), ("ledger",), ("lag",), ("targets",), ("rules",), ("alerts",),
                    ("ready",)):
        code, out, err = hark_cli(*command, "--server", nobody)
        assert code == 3 and nobody in err and not out, (command, code, out, err)


def test_top_on_a_terminal():
    """Frames come until q; the terminal is as before."""
    with Hark("host_metrics: {enabled: true, interval: 100ms}\n") as hark:
        server = f"http://127.0.0.1:{hark.ports['http']}"
        wait_for(lambda: hark.value("count(node_load1)"), "the host's metrics")
        code, out, err = hark_cli("top", "--once", server=server)
        assert code == 0 and "cpu" in out and "host metrics" in out and not err, (code, out, err)
        code, out, err = hark_cli("top", server=server)
        assert code == 2 and "--once" in err, (code, out, err)
        outer, inner = os.openpty()
        before = termios.tcgetattr(inner)
        top = subprocess.Popen([str(harness.BINARY), "top", "--interval", "100ms", "--server", server],
                               stdin=inner, stdout=inner, stderr=inner)
        seen = b""
        try:
            # Since the second frame there are rates: no dash in the column.
            while not re.search(rb"host metrics +\d", seen):
                seen += os.read(outer, 65536)
                assert top.poll() is None, seen
            os.write(outer, b"q")
            assert top.wait(20) == 0
        finally:
            top.kill()
            top.wait()
        assert b"cpu     [" in seen and b"memory  [" in seen and b"alerts: 0 firing" in seen, seen
        assert termios.tcgetattr(inner) == before
        os.close(outer)
        os.close(inner)
