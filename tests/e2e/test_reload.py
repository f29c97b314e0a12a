"""Reloading the configuration: SIGHUP and POST /-/reload, what stays, what is refused."""
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import threading

from harness import Hark, Sink, now_ms, remote_write, wait_for
from test_cli import hark_cli
from test_scrape import Page, targets
from test_security import SECURE, TOKEN, make_certificate, secure_request

RULES = """
groups:
- name: g
  interval: 1s
  rules:
  - alert: Hot
    expr: temperature > {limit}
    labels: {{severity: page}}
  - alert: Warm
    expr: temperature > 50
    for: {wait}
    labels: {{severity: page}}
"""

CONFIG = """
host_metrics: {{enabled: false}}
rule_files: [rules/*.yml]
alertmanager:
  route: {{receiver: ops, group_by: ['...'], group_wait: 0s, group_interval: 1s}}
  receivers:
  - name: ops
    webhook_configs: {hooks}
"""


def config(*urls, more=""):
    return CONFIG.format(hooks=json.dumps([{"url": url} for url in urls])) + more


def rules(limit=100, wait="1h"):
    return RULES.format(limit=limit, wait=wait)


def heat(hark, value, room="lab"):
    labels = {"__name__": "temperature", "room": room}
    assert remote_write(hark, [(labels, [(value, now_ms())])]) == 204


def reload(hark, status=200, method="POST"):
    got, _, body = hark.request(method, "/-/reload")
    assert got == status, (got, body)
    return body.decode()


def metric(hark, name):
    _, _, body = hark.request("GET", "/metrics")
    return next(float(line.split()[1]) for line in body.decode().splitlines()
                if line.startswith(name + " "))


def alerts(hark):
    return {a["labels"]["alertname"]: a for a in hark.get("/api/v1/alerts")["data"]["alerts"]}


def ids(sink):
    return {post[1]["X-Hark-Notification-Id"] for post in list(sink.posts)}


def test_a_changed_rule_keeps_its_alerts():
    with Sink() as sink, Hark(config(sink.url), files={"rules/a.yml": rules()}) as hark:
        heat(hark, 150.0)
        sink.wait(1)
        wait_for(lambda: len(alerts(hark)) == 2, "both alerts")
        before = alerts(hark)
        assert before["Hot"]["state"] == "firing" and before["Warm"]["state"] == "pending", before
        # Another expression and another `for`; both still hold.
        (hark.folder / "rules/a.yml").write_text(rules(limit=90, wait="2h"))
        assert reload(hark) == "configuration reloaded\n"
        after = alerts(hark)
        for name, alert in before.items():
            assert after[name]["state"] == alert["state"], after
            assert after[name]["activeAt"] == alert["activeAt"], (before, after)
        group, = hark.get("/api/v1/rules")["data"]["groups"]
        assert [rule["query"] for rule in group["rules"]] == ["temperature > 90", "temperature > 50"]
        assert group["rules"][1]["duration"] == 7200
        # A new rule fires; nothing is told twice.
        (hark.folder / "rules/b.yml").write_text(rules(limit=1).replace("Hot", "New"))
        reload(hark, method="PUT")
        sink.wait(2)
        assert [p[2]["alerts"][0]["labels"]["alertname"] for p in sink.posts] == ["Hot", "New"]
        heat(hark, 95.0)  # above the new limit only
        assert alerts(hark)["Hot"]["state"] == "firing"
        # The new expression does not hold: the alert resolves at once.
        (hark.folder / "rules/a.yml").write_text(rules(limit=200, wait="2h"))
        reload(hark)
        post = sink.wait(3)[2][2]
        assert post["status"] == "resolved" and post["alerts"][0]["labels"]["alertname"] == "Hot"
        assert "Hot" not in alerts(hark) and "Warm" in alerts(hark)
        # State goes on over a kill as well: an answer means that all before it is durable.
        assert remote_write(hark, [({"__name__": "later"}, [(1.0, now_ms())])]) == 204
        hark.kill()
        hark.start()
        wait_for(lambda: set(alerts(hark)) == {"New", "Warm"}, "the alerts after the restart")
        assert len(ids(sink)) == 3, ids(sink)


def test_rules_on_a_tick_keep_their_alerts():
    text = rules().replace("temperature > 100", "topk(1, temperature) > 100")
    with Sink() as sink, Hark(config(sink.url), files={"rules/a.yml": text}) as hark:
        heat(hark, 150.0)
        sink.wait(1)
        before = alerts(hark)["Hot"]
        for limit in range(99, 94, -1):
            (hark.folder / "rules/a.yml").write_text(text.replace("> 100", f"> {limit}"))
            reload(hark)
            assert alerts(hark)["Hot"]["activeAt"] == before["activeAt"], before

        def evaluated():
            group, = hark.get("/api/v1/rules")["data"]["groups"]
            return group["rules"][0]["lastEvaluation"] > before["activeAt"]

        wait_for(evaluated, "an evaluation of the new rule")
        assert alerts(hark)["Hot"]["activeAt"] == before["activeAt"], before
        assert len(ids(sink)) == 1, ids(sink)


TWINS = """
groups:
- name: g
  interval: 1s
  rules:
  - {alert: Twin, expr: 'temperature > 100', labels: {severity: page}}
  - {alert: Twin, expr: 'temperature > 50', labels: {severity: ticket}}
  - {alert: Ratio, expr: 'sum(left) / sum(right) > 2'}
  - {record: kept, expr: 'sum(temperature)'}
  - {record: dropped, expr: 'sum(temperature)'}
"""


def test_rules_that_look_alike():
    """One name with two severities, and sides with different stamps: neither changes its state."""
    with Sink() as sink, Hark(config(sink.url), files={"rules/a.yml": TWINS}) as hark:
        assert remote_write(hark, [({"__name__": "left"}, [(9.0, now_ms() - 5000)]),
                                   ({"__name__": "right"}, [(3.0, now_ms() - 2000)])]) == 204
        heat(hark, 150.0)
        sink.wait(3)

        def firing():
            found = hark.get("/api/v1/alerts")["data"]["alerts"]
            return sorted((a["labels"].get("severity", ""), a["activeAt"]) for a in found
                          if a["state"] == "firing")

        before = firing()
        assert [severity for severity, _ in before] == ["", "page", "ticket"], before
        wait_for(lambda: hark.value("dropped") == 150 and hark.value("kept") == 150, "the records")
        lines = [line for line in TWINS.splitlines() if "dropped" not in line]
        (hark.folder / "rules/a.yml").write_text("\n".join(lines))
        reload(hark)
        assert firing() == before
        assert hark.value("dropped") is None and hark.value("kept") == 150
        # An answer means that all before it is durable.
        assert remote_write(hark, [({"__name__": "later"}, [(1.0, now_ms())])]) == 204
        hark.kill()
        hark.start()
        wait_for(lambda: firing() == before, "the same alerts after a restart")
        heat(hark, 70.0)
        posts = sink.wait(4)
        assert posts[3][2]["status"] == "resolved", posts[3]
        assert posts[3][2]["alerts"][0]["labels"]["severity"] == "page", posts[3]
        assert len(ids(sink)) == 4, ids(sink)


def test_a_removed_rule_is_not_resolved_at_once():
    with Sink() as sink, Hark(config(sink.url), files={"rules/a.yml": rules()}) as hark:
        heat(hark, 150.0)
        sink.wait(1)
        (hark.folder / "rules/a.yml").unlink()
        reload(hark)
        assert not alerts(hark)
        # Back again: the same notification counts.
        (hark.folder / "rules/a.yml").write_text(rules())
        reload(hark)
        assert alerts(hark)["Hot"]["state"] == "firing"
        (hark.folder / "rules/a.yml").write_text(rules(limit=200))
        reload(hark)
        posts = sink.wait(2)
        assert [post[2]["status"] for post in posts] == ["firing", "resolved"], posts


def test_a_broken_file_leaves_everything():
    with Sink() as sink, Hark(config(sink.url), files={"rules/a.yml": rules()}) as hark:
        heat(hark, 150.0)
        sink.wait(1)
        assert metric(hark, "hark_config_last_reload_successful") == 1
        stamp = metric(hark, "hark_config_last_reload_success_timestamp_seconds")
        (hark.folder / "rules/a.yml").write_text(rules().replace("temperature > 100", "sum(("))
        text = reload(hark, 500)
        assert "rules/a.yml:7:" in text and "failed to reload config" in text, text
        hark.config.write_text(config(sink.url) + "scrape_config: []\n")
        text = reload(hark, 500)
        assert "hark.yml:9:1: error" in text and "scrape_configs" in text, text
        hark.config.write_text(config(sink.url).replace("receiver: ops", "receiver: nobody"))
        text = reload(hark, 500)
        assert "nobody" in text, text
        hark.config.write_text(
            config(sink.url) + "scrape_configs:\n- {job_name: j, "
            "basic_auth: {username: u, password: s3cr3t-one, passwort: s3cr3t-two}}\n")
        text = reload(hark, 500)
        assert "s3cr3t" not in text and "passwort" in text, text
        hark.config.unlink()
        text = reload(hark, 500)
        assert "hark.yml" in text, text
        assert metric(hark, "hark_config_last_reload_successful") == 0
        assert metric(hark, "hark_config_last_reload_success_timestamp_seconds") == stamp
        assert metric(hark, "hark_config_reload_failures_total") == 5
        assert alerts(hark)["Hot"]["state"] == "firing" and len(ids(sink)) == 1
        assert not hark.get("/api/v1/status/runtimeinfo")["data"]["reloadConfigSuccess"]
        assert "s3cr3t" not in hark.output()
        status, _, _ = hark.request("GET", "/-/reload")
        assert status == 405, status
        status, _, _ = hark.request("POST", "/-/reload", headers={"Origin": "http://evil.example"})
        assert status == 403, status


def test_sighup():
    with Sink() as sink, Hark(config(sink.url), files={"rules/a.yml": rules()}) as hark:
        heat(hark, 95.0)
        (hark.folder / "rules/a.yml").write_text(rules(limit=90))
        hark.process.send_signal(signal.SIGHUP)
        assert sink.wait(1)[0][2]["alerts"][0]["labels"]["alertname"] == "Hot"
        (hark.folder / "rules/a.yml").write_text("groups: 7\n")
        hark.process.send_signal(signal.SIGHUP)
        wait_for(lambda: metric(hark, "hark_config_last_reload_successful") == 0, "the refusal")
        assert "rules/a.yml:1:9" in hark.output()
        # The same from the command line.
        server = f"http://127.0.0.1:{hark.ports['http']}"
        code, out, err = hark_cli("reload", server=server)
        assert code == 1 and "rules/a.yml:1:9" in err and not out, (code, out, err)
        (hark.folder / "rules/a.yml").write_text(rules(limit=90))
        code, out, err = hark_cli("reload", server=server)
        assert code == 0 and out == "configuration reloaded\n" and not err, (code, out, err)
        assert metric(hark, "hark_config_last_reload_successful") == 1


def scrape(*pages, more=""):
    lines = "".join(f"\n- job_name: {name}\n  scrape_interval: 100ms\n"
                    f"  static_configs: [{{targets: ['{page.address}']}}]{more}"
                    for name, page in pages)
    return "host_metrics: {enabled: false}\nscrape_configs:" + (lines or " []") + "\n"


def test_scrape_targets():
    with Page("one 1\nextra 1\n") as one, Page("two 2\n") as two:
        with Hark(scrape(("a", one))) as hark:
            wait_for(lambda: hark.value("one") == 1, "the first target")
            before = targets(hark)[0]
            hark.config.write_text(scrape(("a", one), ("b", two)))
            reload(hark)
            wait_for(lambda: hark.value("two") == 2, "the second target")
            assert hark.value("one") == 1
            assert {t["scrapePool"] for t in targets(hark)} == {"a", "b"}
            assert before["labels"] == next(t for t in targets(hark) if t["scrapePool"] == "a")["labels"]
            # Relabelling changes for a target that stays.
            rule = "\n  metric_relabel_configs: [{source_labels: [__name__], regex: extra, action: drop}]"
            hark.config.write_text(scrape(("a", one), more=rule))
            reload(hark)
            wait_for(lambda: hark.value("extra") is None, "the dropped series")
            wait_for(lambda: hark.value("two") is None, "the end of the target that is gone")
            assert hark.value("one") == 1 and hark.value("up") == 1
            # No gap: a scrape every 100 ms over all reloads, and no stale marker between.
            assert set(hark.query("min_over_time(up[1m])").values()) == {1}
            hark.config.write_text(scrape())
            reload(hark)
            wait_for(lambda: hark.value("one") is None, "the end of the last target")
            assert not targets(hark)


def test_receivers():
    with Sink() as first, Sink() as second:
        with Hark(config(first.url), files={"rules/a.yml": rules()}) as hark:
            heat(hark, 150.0)
            first.wait(1)
            # A second webhook learns of what fires; the first is not told again.
            hark.config.write_text(config(first.url, second.url))
            reload(hark)
            assert second.wait(1)[0][2]["status"] == "firing"
            heat(hark, 20.0)
            assert second.wait(2)[1][2]["status"] == "resolved"
            assert first.wait(2)[1][2]["status"] == "resolved"
            assert len(ids(first)) == 2, ids(first)
            # It goes again, grouped another way.
            hark.config.write_text(config(first.url).replace("'...'", "severity"))
            reload(hark)
            heat(hark, 151.0)
            assert first.wait(3)[2][2]["groupLabels"] == {"severity": "page"}
            assert len(ids(second)) == 2, ids(second)


def test_what_needs_a_restart():
    more = "memory: 1GiB\nlimits: {connections: 77}\nstatsd: {listen: '127.0.0.1:0'}\n"
    with Sink() as sink, Hark(config(sink.url), files={"rules/a.yml": rules()}) as hark:
        hark.config.write_text(config(sink.url) + more)
        (hark.folder / "rules/a.yml").write_text(rules(limit=90))
        text = reload(hark)
        for key in ("memory", "limits.connections", "statsd"):
            assert f"warning: {key} has changed" in text, text
            assert f"{key} has changed: that needs a restart" in hark.output()
        heat(hark, 95.0)
        sink.wait(1)  # the rest applies
        # Listeners were given as flags, which win.
        hark.config.write_text(config(sink.url) + "server: {http: '127.0.0.1:1', token: s3cr3t}\n")
        assert "server" not in reload(hark)
        status, _, _ = hark.request("GET", "/api/v1/alerts")
        assert status == 401, status  # the new token holds
        bearer = {"Authorization": "Bearer s3cr3t"}
        status, _, body = hark.request("GET", "/api/v1/status/config", headers=bearer)
        yaml = json.loads(body)["data"]["yaml"]
        assert status == 200 and "<secret>" in yaml and "s3cr3t" not in yaml, yaml
        status, _, body = hark.request("GET", "/api/v1/status/flags", headers=bearer)
        assert json.loads(body)["data"]["data"] == str(hark.data), body


def test_a_start_waits_for_a_server_that_ends():
    first, second = Hark(), Hark()
    second.data = first.data
    try:
        with first:
            heat(first, 7.0)
            second.start(wait=False)
            first.kill()
            ports = second.folder / "ports.json"
            wait_for(ports.exists, "the second server")
            second.ports = json.loads(ports.read_text())
            assert second.value("temperature") == 7
    finally:
        second.__exit__(None, None, None)


def serial(hark):
    """Serial number of the certificate that the server shows now."""
    context = ssl.create_default_context(cafile=str(hark.folder / "cert.pem"))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", hark.ports["http"])) as plain:
        with context.wrap_socket(plain) as secure:
            return hashlib.sha256(secure.getpeercert(True)).hexdigest()


def test_certificates_are_read_again():
    hark = Hark(SECURE, flags=["--http", "0.0.0.0:0"])
    make_certificate(hark.folder)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with hark:
        seen = {serial(hark)}
        make_certificate(hark.folder)  # both files change: no reload is asked for
        wait_for(lambda: serial(hark) not in seen, "the new certificate")
        seen.add(serial(hark))
        # Half a pair leaves what there is.
        (hark.folder / "key.pem").write_text("no key\n")
        wait_for(lambda: "the old certificates stay" in hark.output(), "the refusal")
        assert serial(hark) in seen
        # Another pair, named by the configuration; a broken one is refused with everything else.
        other = hark.folder / "other"
        other.mkdir()
        make_certificate(other)
        moved = SECURE.replace("cert.pem", "other/cert.pem")
        hark.config.write_text(moved)
        assert secure_request(hark, "POST", "/-/reload")[0] == 401
        status, text = secure_request(hark, "POST", "/-/reload", headers=bearer)
        assert status == 500 and b"key.pem" in text, (status, text)
        before = serial(hark)
        assert before in seen
        shutil.copy(other / "cert.pem", hark.folder / "cert.pem")
        hark.config.write_text(moved.replace("key.pem", "other/key.pem"))
        hark.process.send_signal(signal.SIGHUP)
        wait_for(lambda: serial(hark) not in seen, "the other certificate")
        # The token may change, but not go: the address is reachable from other hosts.
        hark.config.write_text(moved.replace("key.pem", "other/key.pem").replace(TOKEN, "t0ken-2"))
        assert secure_request(hark, "POST", "/-/reload", headers=bearer)[0] == 200
        assert secure_request(hark, "GET", "/metrics", headers=bearer)[0] == 401
        bearer = {"Authorization": "Bearer t0ken-2"}
        hark.config.write_text(moved.replace("key.pem", "other/key.pem").replace(
            f"  token: {TOKEN}\n", ""))
        status, text = secure_request(hark, "POST", "/-/reload", headers=bearer)
        assert status == 500 and b"reachable from other hosts" in text, (status, text)
        assert secure_request(hark, "GET", "/metrics", headers=bearer)[0] == 200


COMMAND = """#!/bin/sh
touch "$1/$HARK_LABEL_room.began"
while [ ! -e "$1/go" ]; do sleep 0.02; done
touch "$1/$HARK_LABEL_room.done"
"""

EXEC = """
host_metrics: {{enabled: false}}
rule_files: [rules/*.yml]
alertmanager:
  route: {{receiver: ops, group_by: ['...'], group_wait: 0s, group_interval: 1s}}
  receivers:
  - name: ops
    exec_configs: [{{command: [{folder}/run.sh, {folder}/marks], timeout: 60s, max_concurrency: {most}}}]
"""


def test_commands_wait_for_each_other():
    hark = Hark("", files={"rules/a.yml": rules(), "run.sh": COMMAND})
    marks = hark.folder / "marks"
    marks.mkdir()
    os.chmod(hark.folder / "run.sh", 0o755)
    hark.config.write_text(EXEC.format(folder=hark.folder, most=2))

    def marked(kind):
        return len(list(marks.glob("*." + kind)))

    with hark:
        rooms = [({"__name__": "temperature", "room": f"r{i:03}"}, [(150.0, now_ms())])
                 for i in range(2 + 256 + 5)]
        assert remote_write(hark, rooms) == 204
        wait_for(lambda: metric(hark, "hark_commands_waiting") == 256, "the queue")
        wait_for(lambda: marked("began") == 2, "the first two")
        assert metric(hark, "hark_commands_running") == 2
        assert metric(hark, "hark_commands_crowded_total") == 5
        assert "too many commands of this receiver wait" in hark.output()
        # More at a time after a reload; those that run and wait stay.
        hark.config.write_text(EXEC.format(folder=hark.folder, most=4))
        reload(hark)
        wait_for(lambda: marked("began") == 4, "two more")
        assert metric(hark, "hark_commands_waiting") == 254
        (marks / "go").touch()
        wait_for(lambda: marked("done") == 258, "all that waited")
        wait_for(lambda: metric(hark, "hark_commands_running") == 0, "the end")
        assert marked("began") == 258 and metric(hark, "hark_commands_waiting") == 0


def put(path, text):
    """Replaces a file at once: a reload that runs meanwhile must not see half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


BUSY = RULES.format(limit=100, wait="1h").replace("temperature > 50", "topk(5, temperature) > 50").replace(
    "    for: 1h\n", "") + """
  - {record: heat:sum, expr: 'sum(temperature) + STEP'}
"""


def test_reloads_under_load():
    """Rules of both kinds, receivers and targets change while samples arrive."""
    with Page("one 1\n") as page, Sink() as sink, Sink() as other:
        job = (f"scrape_configs: [{{job_name: a, scrape_interval: 100ms, "
               f"static_configs: [{{targets: ['{page.address}']}}]}}]\n")
        with Hark(config(sink.url), files={"rules/a.yml": BUSY.replace("STEP", "0")}) as hark:
            heat(hark, 150.0)
            sink.wait(2)
            stop = threading.Event()
            failures = []

            def load():
                while not stop.is_set():
                    rows = [({"__name__": "noise", "n": str(n)}, [(float(n), now_ms())])
                            for n in range(100)]
                    rows.append(({"__name__": "temperature", "room": "lab"}, [(150.0, now_ms())]))
                    status = remote_write(hark, rows)
                    if status != 204:
                        failures.append(status)

            threads = [threading.Thread(target=load) for _ in range(2)]
            for thread in threads:
                thread.start()
            try:
                for step in range(1, 25):
                    put(hark.folder / "rules/a.yml", BUSY.replace("STEP", str(step)))
                    urls = (sink.url, other.url) if step % 2 else (sink.url,)
                    put(hark.config, config(*urls, more=job if step % 3 else ""))
                    if step % 4:
                        reload(hark)
                    else:
                        hark.process.send_signal(signal.SIGHUP)
                reload(hark)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            assert not failures, failures
            assert {a["state"] for a in alerts(hark).values()} == {"firing"}, alerts(hark)
            assert metric(hark, "hark_config_reload_failures_total") == 0
            hark.check_ledger()
            heat(hark, 1.0)
            wait_for(lambda: not alerts(hark), "the end of the alerts")
            told = {}

            def all_told():
                told.clear()
                for _, headers, body in list(sink.posts):
                    alert, = body["alerts"]
                    told.setdefault((alert["labels"]["alertname"], body["status"]), set()).add(
                        headers["X-Hark-Notification-Id"])
                return len(told) == 4

            wait_for(all_told, "two notifications of the end")
            assert all(len(found) == 1 for found in told.values()), told
