"""The thin path: metrics in, durable, queryable, judged on arrival, acted on."""
import json
import random
import threading
import time

from harness import Hark, Sink, now_ms, remote_write, snappy, wait_for, WRITE_HEADERS, write_request

RULES = """
groups:
- name: backbone
  interval: 1s
  rules:
  - alert: TooHot
    expr: temperature > 100
    labels: {severity: page}
    annotations: {summary: "{{ $labels.room }} is at {{ $value }}"}
  - alert: SumTooHigh
    expr: sum by (room) (load) > 10
  - alert: RateTooHigh
    expr: rate(requests_total[1m]) > 5
  - record: room:load:sum
    expr: sum by (room) (load)
"""


def config(sink):
    return f"""
host_metrics: {{enabled: false}}
rule_files: [rules.yml]
alertmanager:
  route: {{receiver: ops, group_by: ['...'], group_wait: 0s, group_interval: 1s}}
  receivers:
  - name: ops
    webhook_configs: [{{url: '{sink.url}'}}]
"""


def test_remote_write_is_queryable_after_the_ack():
    with Hark() as hark:
        now = now_ms()
        for step in range(10):
            series = [({"__name__": "requests_total", "job": "api", "path": p},
                       [(100.0 + 10 * step, now - 90000 + step * 10000)]) for p in ("/a", "/b")]
            assert remote_write(hark, series) == 204
            key = (("__name__", "requests_total"), ("job", "api"), ("path", "/a"))
            rows = hark.query('requests_total{path="/a"}', at=(now - 90000 + step * 10000) / 1000)
            assert rows == {key: 100.0 + 10 * step}, rows
        rate = hark.query("rate(requests_total[1m])", at=now / 1000)
        assert len(rate) == 2 and all(abs(v - 1.0) < 1e-9 for v in rate.values()), rate
        names = hark.get("/api/v1/label/path/values")["data"]
        assert names == ["/a", "/b"], names
        series = hark.get("/api/v1/series?match[]=requests_total")["data"]
        assert {s["path"] for s in series} == {"/a", "/b"}
        account = hark.check_ledger()["remote_write"]
        assert account["received"] == 20 and account["stored"] == 20, account


def test_rule_fires_on_arrival():
    with Sink() as sink:
        with Hark(config(sink), files={"rules.yml": RULES}) as hark:
            now = now_ms()
            labels = {"__name__": "temperature", "room": "lab"}
            assert remote_write(hark, [(labels, [(99.0, now - 1000)])]) == 204
            assert remote_write(hark, [(labels, [(101.5, now)])]) == 204
            (path, headers, body), = sink.wait(1)
            assert body["version"] == "4" and body["status"] == "firing", body
            alert = body["alerts"][0]
            assert alert["labels"] == {"alertname": "TooHot", "room": "lab", "severity": "page"}
            assert alert["annotations"] == {"summary": "lab is at 101.5"}
            shown = hark.get("/api/v1/alerts")["data"]["alerts"]
            assert shown[0]["state"] == "firing" and shown[0]["labels"]["room"] == "lab", shown
            assert remote_write(hark, [(labels, [(20.0, now + 1)])]) == 204
            # The stamp lies a moment ahead: the verdict waits for its time.
            resolved = sink.wait(2)[1][2]
            assert resolved["status"] == "resolved", resolved
            paths = {rule["name"]: rule["path"]
                     for group in hark.get("/api/v1/rules")["data"]["groups"]
                     for rule in group["rules"]}
            assert paths == {"TooHot": "arrival", "SumTooHigh": "arrival",
                             "RateTooHigh": "arrival", "room:load:sum": "tick"}, paths


def test_sums_and_rates_on_arrival_and_recording():
    with Sink() as sink:
        with Hark(config(sink), files={"rules.yml": RULES}) as hark:
            now = now_ms()
            load = [({"__name__": "load", "room": "a", "core": str(i)}, [(3.0, now)])
                    for i in range(4)]
            assert remote_write(hark, load) == 204
            first = sink.wait(1)[0][2]["alerts"][0]
            assert first["labels"] == {"alertname": "SumTooHigh", "room": "a"}, first
            counter = {"__name__": "requests_total", "job": "x"}
            for step in range(7):
                stamp = now - 60000 + step * 10000
                assert remote_write(hark, [(counter, [(step * 100.0, stamp)])]) == 204
            second = sink.wait(2)[1][2]["alerts"][0]
            assert second["labels"] == {"alertname": "RateTooHigh", "job": "x"}, second
            wait_for(lambda: hark.value("room:load:sum") == 12.0, "the recording rule")
            wait_for(lambda: hark.query('ALERTS{alertstate="firing"}'), "ALERTS")


def kill_rounds(rounds):
    """Load, kill -9 right after an ack, restart: nothing acked is lost or wrong."""
    hark = Hark()
    acked = {}
    try:
        hark.start()
        for number in range(rounds):
            stop = threading.Event()
            base = now_ms()

            def load(worker):
                step = 0
                while not stop.is_set():
                    stamp = base + step
                    series = [({"__name__": "kept", "worker": str(worker), "n": str(i)},
                               [(float(number * 1000 + step), stamp)]) for i in range(20)]
                    try:
                        if remote_write(hark, series) != 204:
                            return
                    except OSError:
                        return
                    acked[(worker, stamp)] = float(number * 1000 + step)
                    step += 1

            workers = [threading.Thread(target=load, args=(w,)) for w in range(2)]
            before = len(acked)
            for worker in workers:
                worker.start()
            target = before + 5 + random.randrange(20)
            wait_for(lambda: len(acked) >= target, "acks")
            hark.kill()
            stop.set()
            for worker in workers:
                worker.join()
            hark.start()
            hark.check_ledger()
        checked = 0
        for worker in (0, 1):
            for (w, stamp), value in acked.items():
                if w != worker:
                    continue
                rows = hark.query(f'kept{{worker="{w}"}}', at=stamp / 1000)
                assert len(rows) == 20 and set(rows.values()) == {value}, (w, stamp, value, rows)
                checked += 20
        assert checked > 0
        hark.stop()
        return checked
    finally:
        hark.__exit__(None, None, None) if hark.process.poll() is not None else hark.kill()


def test_kill_loses_nothing_acked():
    kill_rounds(5)


def full_kill_rounds():
    print(f"   {kill_rounds(200)} acked samples checked over 200 kills, 0 lost, 0 wrong")


def test_hostile_requests_are_answered():
    with Hark() as hark:
        cases = [
            ("POST", "/api/v1/write", b"junk", WRITE_HEADERS, 400),
            ("POST", "/api/v1/write", snappy(b"\x0a\xff\xff\xff\xff\x0f"), WRITE_HEADERS, 400),
            ("POST", "/api/v1/write", b"\xff\xff\xff\xff\x0f", WRITE_HEADERS, 413),
            ("POST", "/api/v1/write", b"x", {"Content-Type": "text/plain"}, 415),
            ("GET", "/api/v1/write", None, {}, 405),
            ("POST", "/v1/metrics", b"\xff", {"Content-Type": "application/x-protobuf"}, 400),
            ("POST", "/v1/metrics", b"{", {"Content-Type": "application/json"}, 400),
            ("POST", "/v1/metrics", b"", {"Content-Type": "text/html"}, 415),
            ("GET", "/api/v1/query?query=" + "(" * 2000, None, {}, 400),
            ("GET", "/api/v1/query?query=sum(", None, {}, 400),
            ("GET", "/api/v1/none", None, {}, 404),
            ("GET", "/api/v1/query?query=1", None, {"Host": "evil.example"}, 421),
            ("POST", "/api/v1/query", b"query=1", {"Origin": "http://evil.example"}, 403),
        ]
        for method, path, body, headers, wanted in cases:
            status, _, answer = hark.request(method, path, body, headers)
            assert status == wanted, (method, path[:60], headers, status, answer[:300])
            assert answer, (method, path[:60])
        bad = write_request([({"job": "no name"}, [(1.0, now_ms())])])
        good = write_request([({"__name__": "good"}, [(1.0, now_ms())])])
        status, _, text = hark.request("POST", "/api/v1/write", snappy(bad + good), WRITE_HEADERS)
        assert status == 400 and b"name" in text, (status, text)
        assert hark.value("good") == 1.0
        account = hark.check_ledger()["remote_write"]
        assert account["received"] == 2 and account["stored"] == 1, account


def test_a_second_server_is_refused():
    with Hark() as hark:
        other = Hark(data=hark.data)
        other.start(wait=False)
        assert other.process.wait(20) == 1
        assert "in use by another hark" in other.output(), other.output()
        other.__exit__(None, None, None)
