"""The other receivers over the wire: StatsD, Influx, Pushgateway, remote write 2.0; and /metrics."""
import json
import re
import socket

from harness import (Hark, WRITE_HEADERS, field, free_port, now_ms, sample, snappy, varint, wait_for,
                     write_request)

WRITE_2_HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "X-Prometheus-Remote-Write-Version": "2.0.0",
}


def write_2_request(series):
    """Remote Write 2.0 body of [(labels, [(value, stamp_ms), …]), …], not compressed."""
    symbols = [""]
    body = bytearray()

    def number_of(text):
        if text not in symbols:
            symbols.append(text)
        return varint(symbols.index(text))

    for labels, samples in series:
        refs = b"".join(number_of(word) for pair in sorted(labels.items()) for word in pair)
        metadata = b"\x08\x01"  # counter
        body += field(5, field(1, refs) + b"".join(sample(v, t) for v, t in samples)
                      + field(5, metadata))
    return b"".join(field(4, symbol.encode()) for symbol in symbols) + bytes(body)


def test_statsd():
    port = free_port()
    config = f"""
host_metrics: {{enabled: false}}
statsd: {{listen: '127.0.0.1:{port}', flush_interval: 100ms}}
"""
    with Hark(config) as hark, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        def send(text):
            sender.sendto(text, ("127.0.0.1", port))

        # One after the other: a sum that has arrived makes room for the next step.
        send(b"hits:1|c\nhits:2|c\nsampled:1|c|@0.1\n")
        wait_for(lambda: hark.value("hits") == 3.0, "the counter")
        assert hark.value("sampled") == 10.0
        send(b"hits:4|c|#path:/a,tier:gold\nhits:1|c")
        wait_for(lambda: hark.value('hits{path="/a",tier="gold"}') == 4.0, "tags")
        assert hark.value('hits{path=""}') == 4.0
        send(b"depth:7|g")
        wait_for(lambda: hark.value("depth") == 7.0, "the gauge")
        send(b"depth:-2|g")
        wait_for(lambda: hark.value("depth") == 5.0, "a step of the gauge")
        for value in (10, 20, 30, 40):
            send(b"took:%d|ms" % value)
        wait_for(lambda: hark.value("histogram_count(took)") == 4.0, "the timer")
        total = hark.value("histogram_sum(took)")
        assert abs(total - 100.0) < 1e-6 or abs(total - 0.1) < 1e-6, total
        before = hark.ledger()["statsd"]["received"]
        send(b"this is no metric\nstill_fine:1|c\nbad:x|c")
        wait_for(lambda: hark.value("still_fine") == 1.0, "the good line beside bad ones")
        account = hark.check_ledger()["statsd"]
        assert account["received"] >= before + 3 and sum(account["dropped"].values()) >= 2, account


def test_influx():
    with Hark() as hark:
        stamp = now_ms()
        good = f"weather,place=lab temperature=21.5,humidity=40i {stamp * 1000000}\n"
        status, _, body = hark.request("POST", "/write?db=x", good)
        assert status == 204, (status, body)
        assert hark.value('weather_temperature{place="lab"}') == 21.5
        assert hark.value('weather_humidity{place="lab"}') == 40.0
        status, _, body = hark.request("POST", "/api/v2/write?org=o&bucket=b&precision=ms",
                                       f"power,unit=a watts=5 {stamp}\n")
        assert status == 204, (status, body)
        assert hark.value('power_watts{unit="a"}') == 5.0
        for path in ("/write?precision=ms", "/api/v2/write?precision=ms"):
            name = "v2" if "v2" in path else "v1"
            lines = f"{name}_one a=1 {stamp}\n{name}_bad a= {stamp}\n{name}_two a=2 {stamp}\n"
            status, headers, body = hark.request("POST", path, lines)
            assert status == 400, (path, status, body)
            assert headers["content-type"].startswith("application/json"), headers
            answer = json.loads(body)
            text = answer["error"] if name == "v1" else answer["message"]
            assert "2" in text or answer.get("line") == 2, answer
            if name == "v2":
                assert answer["code"] == "invalid", answer
            assert hark.value(f"{name}_one_a") == 1.0 and hark.value(f"{name}_two_a") == 2.0
            assert not hark.query(f"{name}_bad_a")
        assert hark.request("POST", "/write?precision=weeks", good)[0] == 400
        assert hark.request("GET", "/ping")[0] == 204
        account = hark.check_ledger()["influx"]
        assert account["stored"] == 7 and sum(account["dropped"].values()) == 2, account


def test_pushgateway():
    with Hark() as hark:
        def push(method, path, text):
            return hark.request(method, path, text, {"Content-Type": "text/plain; version=0.0.4"})

        path = "/metrics/job/backup/instance/db1"
        status, _, body = push("PUT", path, "# TYPE size gauge\nsize 10\nfiles{kind=\"a\"} 3\n")
        assert status == 200, (status, body)
        labels = 'job="backup",instance="db1"'
        assert hark.value("size{%s}" % labels) == 10.0
        assert hark.value('files{%s,kind="a"}' % labels) == 3.0
        # POST replaces names, PUT the whole group.
        assert push("POST", path, "size 11\n")[0] == 200
        assert hark.value("size{%s}" % labels) == 11.0
        assert hark.value("files{%s}" % labels) == 3.0
        assert push("PUT", path, "size 12\n")[0] == 200
        wait_for(lambda: hark.value("size{%s}" % labels) == 12.0, "the new group")
        wait_for(lambda: not hark.query("files{%s}" % labels), "stale series of the old group")
        assert push("PUT", "/metrics/job@base64/L2E/x", "q 1\n")[0] == 400
        assert push("PUT", "/metrics/job@base64/L2E", "encoded 1\n")[0] == 200
        assert hark.value('encoded{job="/a"}') == 1.0
        # What simple clients send is text; what is something else is refused.
        for kind, wanted in ((None, 200), ("application/x-www-form-urlencoded", 200),
                             ("TEXT/PLAIN", 200), ("application/json", 415), ("text/html", 415),
                             ("application/x-protobuf", 415)):
            headers = {"Content-Type": kind} if kind else {}
            status, _, body = hark.request("PUT", path, "size 12\n", headers)
            assert status == wanted, (kind, status, body)
            assert wanted == 200 or b"use text/plain" in body, body
        # A bad body changes nothing.
        status, _, body = push("PUT", path, "size 13\nsize{ 14\n")
        assert status == 400 and body, (status, body)
        assert hark.value("size{%s}" % labels) == 12.0
        assert push("DELETE", path, None)[0] == 202
        wait_for(lambda: not hark.query("size{%s}" % labels), "stale series after DELETE")
        assert hark.value('encoded{job="/a"}') == 1.0
        hark.check_ledger()


def test_remote_write_2():
    with Hark() as hark:
        stamp = now_ms()
        series = [({"__name__": "second_total", "job": "two", "n": str(i)},
                   [(float(i), stamp - 1000), (float(i + 10), stamp)]) for i in range(5)]
        body = snappy(write_2_request(series))
        status, headers, text = hark.request("POST", "/api/v1/write", body, WRITE_2_HEADERS)
        assert status == 204, (status, text)
        assert headers["x-prometheus-remote-write-samples-written"] == "10", headers
        assert headers["x-prometheus-remote-write-histograms-written"] == "0", headers
        assert headers["x-prometheus-remote-write-exemplars-written"] == "0", headers
        for i in range(5):
            assert hark.value(f'second_total{{job="two",n="{i}"}}') == i + 10.0
            assert hark.value(f'second_total{{n="{i}"}}', at=(stamp - 1000) / 1000) == float(i)
        # A ref behind the symbols is told; what was written beside it is counted.
        bad = field(5, field(1, varint(1) + varint(99)) + sample(1.0, stamp))
        mixed = snappy(write_2_request(series[:1]) + bad)
        status, headers, text = hark.request("POST", "/api/v1/write", mixed, WRITE_2_HEADERS)
        assert status == 400 and text, (status, text)
        assert headers["x-prometheus-remote-write-samples-written"] == "2", headers
        assert hark.value("count(second_total)") == 5.0
        hark.check_ledger()


def test_content_types():
    with Hark() as hark:
        body = snappy(write_request([({"__name__": "typed"}, [(1.0, now_ms())])]))
        for path, headers, wanted in (
                ("/api/v1/write", {"Content-Type": "application/json"}, 415),
                ("/api/v1/write", {"Content-Type": "application/x-protobuf;proto=some.Other"}, 415),
                ("/api/v1/write", {"Content-Type": "application/x-protobuf",
                                   "Content-Encoding": "br"}, 415),
                ("/v1/metrics", {"Content-Type": "text/plain"}, 415),
                ("/v1/metrics", {"Content-Type": "application/x-protobuf",
                                 "Content-Encoding": "br"}, 415),
                ("/api/v1/write", WRITE_HEADERS, 204)):
            status, _, text = hark.request("POST", path, body, headers)
            assert status == wanted, (path, headers, status, text)
        assert hark.value("typed") == 1.0
        assert hark.check_ledger()["remote_write"]["received"] == 1


LINE = re.compile(
    r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\["\\n])*",?)*\})?'
    r' (NaN|[+-]?Inf|[+-]?\d+(\.\d+)?([eE][+-]?\d+)?)')
COMMENT = re.compile(r"# (HELP [a-zA-Z_:][a-zA-Z0-9_:]* .*"
                     r"|TYPE [a-zA-Z_:][a-zA-Z0-9_:]* (counter|gauge|histogram|summary|untyped))")


def test_own_metrics():
    with Hark() as hark:
        body = snappy(write_request([({"__name__": "typed"}, [(1.0, now_ms())])]))
        assert hark.request("POST", "/api/v1/write", body, WRITE_HEADERS)[0] == 204
        status, headers, page = hark.request("GET", "/metrics")
        assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
        text = page.decode()
        assert text.endswith("\n")
        typed, seen = set(), set()
        for line in text.splitlines():
            if line.startswith("#"):
                assert COMMENT.fullmatch(line), line
                name = line.split()[2]
                if line.startswith("# TYPE"):
                    assert name not in typed, f"second TYPE of {name}"
                    typed.add(name)
                continue
            assert LINE.fullmatch(line), line
            series = line.rsplit(" ", 1)[0]
            assert series not in seen, f"{series} is there twice"
            seen.add(series)
            family = re.sub(r"_(bucket|sum|count)$", "", series.split("{")[0])
            assert family in typed or series.split("{")[0] in typed, f"no TYPE of {series}"
        assert any(series.startswith("hark_series") for series in seen), seen
