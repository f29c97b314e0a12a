"""Commands, webhooks that are down, alert state over a crash, a separate Alertmanager."""
import json
import os
import pathlib
import shutil
import tempfile

from harness import Hark, Program, Sink, fetch, free_port, now_ms, peer, remote_write, wait_for

RULES = """
groups:
- name: actions
  interval: 1s
  rules:
  - alert: TooHot
    expr: temperature > 100
    labels: {severity: page}
"""

# Writes what it got, then renames: a reader never sees half of it.
SCRIPT = """#!/bin/sh
{ env; echo "ARGS=$#:$1:$2"; echo "BODY=$(cat)"; } > "$1.$$" && mv "$1.$$" "$1"
"""


def config(receiver):
    return f"""
host_metrics: {{enabled: false}}
rule_files: [rules.yml]
alertmanager:
  route: {{receiver: ops, group_by: ['...'], group_wait: 0s, group_interval: 1s}}
  receivers:
  - name: ops
{receiver}
"""


def webhook(url):
    return config(f"    webhook_configs: [{{url: '{url}'}}]")


def heat(hark, value, room="lab"):
    labels = {"__name__": "temperature", "room": room}
    assert remote_write(hark, [(labels, [(value, now_ms())])]) == 204


def test_command_runs():
    # The path of its file holds what a shell would act on.
    text = config("""    exec_configs:
    - command: [SCRIPT, 'OUT $(id);`id`', second]
      env: {EXTRA: given}
      send_resolved: true
      timeout: 20s""")
    hark = Hark(text, files={"rules.yml": RULES, "run.sh": SCRIPT})
    os.chmod(hark.folder / "run.sh", 0o755)
    out = hark.folder / "out $(id);`id`"
    hark.config.write_text(
        text.replace("SCRIPT", str(hark.folder / "run.sh")).replace("OUT", str(hark.folder / "out")))
    with hark:
        room = "a'; touch pwned; $(touch pwned)"
        heat(hark, 150.0, room)
        wait_for(out.exists, "the command's file")
        lines = out.read_text().splitlines()
        got = dict(line.split("=", 1) for line in lines if "=" in line)
        assert got["HARK_LABEL_alertname"] == "TooHot" and got["HARK_ALERTNAME"] == "TooHot", got
        assert got["HARK_LABEL_room"] == room and got["HARK_LABEL_severity"] == "page", got
        assert got["HARK_STATUS"] == "firing" and got["HARK_RECEIVER"] == "ops", got
        assert float(got["HARK_VALUE"]) == 150.0 and got["EXTRA"] == "given", got
        assert got["HARK_NOTIFICATION_ID"], got
        assert got["ARGS"] == f"2:{out}:second", got
        assert json.loads(got["BODY"])["alerts"][0]["labels"]["room"] == room, got["BODY"]
        assert not list(hark.folder.rglob("pwned"))
        out.unlink()
        heat(hark, 20.0, room)
        wait_for(out.exists, "the command at the end")
        assert "HARK_STATUS=resolved" in out.read_text()


def test_webhook_is_retried():
    port = free_port()
    with Hark(webhook(f"http://127.0.0.1:{port}/hook"), files={"rules.yml": RULES}) as hark:
        heat(hark, 150.0)
        wait_for(lambda: hark.get("/api/v1/alerts")["data"]["alerts"], "the alert")
        # It is down at first, then it fails, then it is well.
        with Sink(status=503, port=port) as sink:
            first = sink.wait(1)[0]
            sink.status = 200
            count = len(sink.posts)
            last = sink.wait(count + 1)[-1]
            assert last[2]["status"] == "firing", last
            ids = {post[1]["X-Hark-Notification-Id"] for post in sink.posts}
            assert ids == {first[1]["X-Hark-Notification-Id"]}, ids
            heat(hark, 20.0)

            def resolved():
                return [post for post in list(sink.posts) if post[2]["status"] == "resolved"]

            post = wait_for(resolved, "the resolved notification")[0]
            assert post[1]["X-Hark-Notification-Id"] not in ids


def test_alert_state_continues_after_a_kill():
    with Sink() as sink, Hark(webhook(sink.url), files={"rules.yml": RULES}) as hark:
        heat(hark, 150.0)
        told = sink.wait(1)[0][1]["X-Hark-Notification-Id"]
        before, = hark.get("/api/v1/alerts")["data"]["alerts"]
        hark.kill()
        hark.start()
        wait_for(lambda: hark.get("/api/v1/alerts")["data"]["alerts"], "the alert after the restart")
        after, = hark.get("/api/v1/alerts")["data"]["alerts"]
        assert after["state"] == "firing" and after["labels"] == before["labels"], after
        assert after["activeAt"] == before["activeAt"], (before, after)
        heat(hark, 151.0)
        heat(hark, 20.0)

        def news():
            """At least once: a delivery that was not on record at the kill comes again as it was."""
            return [p for p in list(sink.posts) if p[1]["X-Hark-Notification-Id"] != told]

        post = wait_for(news, "the resolved notification")[0]
        assert post[2]["status"] == "resolved", post
        assert post[2]["alerts"][0]["labels"]["room"] == "lab", post
        assert not hark.get("/api/v1/alerts")["data"]["alerts"]
        assert len(news()) == 1, news()


class Templates:
    """A copy of the unpacked Alertmanager that reads its templates where they are unpacked: the
    folder of an installed one is in the program, and is replaced by a link of the same length."""
    INSTALLED = b"/usr/share/prometheus/alertmanager"

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="hark-am-", dir="/tmp")
        program = pathlib.Path(peer("prometheus-alertmanager", "usr/bin/prometheus-alertmanager"))
        link = pathlib.Path(self.folder + "/" + "t" * (len(self.INSTALLED) - len(self.folder) - 1))
        link.symlink_to(peer("prometheus-alertmanager", self.INSTALLED.decode().lstrip("/")))
        assert len(str(link)) == len(self.INSTALLED), link
        copy = pathlib.Path(self.folder + "/prometheus-alertmanager")
        copy.write_bytes(program.read_bytes().replace(self.INSTALLED, str(link).encode()))
        copy.chmod(0o755)
        return copy

    def __exit__(self, *args):
        shutil.rmtree(self.folder, ignore_errors=True)


def test_a_separate_alertmanager():
    port = free_port()
    text = f"""
host_metrics: {{enabled: false}}
global: {{external_labels: {{site: here}}}}
rule_files: [rules.yml]
alerting:
  alertmanagers:
  - static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""
    with Sink() as sink, Templates() as binary:
        peer_config = f"""
route: {{receiver: sink, group_wait: 0s, group_interval: 1s}}
receivers:
- name: sink
  webhook_configs: [{{url: '{sink.url}'}}]
"""
        with Program(binary, "--config.file=am.yml", "--storage.path=data", "--cluster.listen-address=",
                     f"--web.listen-address=127.0.0.1:{port}", files={"am.yml": peer_config}) as manager:

            def ready():
                manager.alive()
                return fetch(f"http://127.0.0.1:{port}/-/ready")

            wait_for(ready, "Alertmanager")
            with Hark(text, files={"rules.yml": RULES}) as hark:
                heat(hark, 150.0)

                def known():
                    manager.alive()
                    return json.loads(fetch(f"http://127.0.0.1:{port}/api/v2/alerts") or "[]")

                alert, = wait_for(known, "the alert in Alertmanager")
                assert alert["labels"] == {"alertname": "TooHot", "room": "lab", "severity": "page",
                                           "site": "here"}, alert
                post = sink.wait(1)[0][2]
                assert post["status"] == "firing" and post["alerts"][0]["labels"]["room"] == "lab"
                heat(hark, 20.0)
                post = sink.wait(2)[1][2]
                assert post["status"] == "resolved", post
