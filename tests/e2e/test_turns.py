"""Bodies are taken in turns: large ones hold nobody up, arrive whole, and are counted once."""
import http.client
import random
import re
import socket
import threading

from harness import Hark, Sink, now_ms, remote_write, snappy, wait_for, WRITE_HEADERS, write_request

CONFIG = """
host_metrics: {{enabled: false}}
rule_files: [rules.yml]
alertmanager:
  route: {{receiver: ops, group_by: ['...'], group_wait: 0s, group_interval: 1s}}
  receivers:
  - name: ops
    webhook_configs: [{{url: '{url}'}}]
"""
RULES = """
groups:
- name: turns
  rules:
  - alert: Crossing
    expr: crossing > 100
  - alert: Torn
    expr: sum(half) != 0
"""


def large(name, count, stamp, value=lambda i: float(i)):
    """A body of `count` series, compressed."""
    return snappy(write_request([({"__name__": name, "i": str(i)}, [(value(i), stamp)])
                                 for i in range(count)]))


def head(length):
    lines = ["POST /api/v1/write HTTP/1.1", "Host: localhost", f"Content-Length: {length}",
             *(f"{key}: {value}" for key, value in WRITE_HEADERS.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def connect(hark):
    return socket.create_connection(("127.0.0.1", hark.ports["http"]), timeout=60)


def test_client_that_leaves_in_the_middle():
    """A body that did not arrive whole counts as nothing; one that did is taken to its end."""
    with Hark() as hark:
        now = now_ms()
        body = large("left", 20000, now)
        chance = random.Random(3)
        for _ in range(6):
            with connect(hark) as client:
                client.sendall(head(len(body)) + body[:chance.randrange(len(body))])
        assert "remote_write" not in hark.ledger() or \
            hark.ledger()["remote_write"]["received"] == 0
        with connect(hark) as client:
            client.sendall(head(len(body)) + body)
        wait_for(lambda: hark.ledger().get("remote_write", {}).get("received", 0) == 20000,
                 "the whole body")
        account = hark.check_ledger()["remote_write"]
        assert account["stored"] == 20000, account
        assert hark.value("count(left)", at=now / 1000) == 20000.0


def test_small_bodies_pass_large_ones():
    """Many connections at once: every body is answered, in order on its connection, and counted."""
    with Hark() as hark:
        now = now_ms()
        failures = []

        def send(number):
            connection = http.client.HTTPConnection("127.0.0.1", hark.ports["http"], timeout=60)
            for step in range(4):
                count = 6000 if number % 2 == 0 else 3
                body = large(f"series_{number}", count, now + step, lambda i: float(step))
                connection.request("POST", "/api/v1/write", body, WRITE_HEADERS)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 204:
                    failures.append((number, step, answer.status))
            connection.close()

        threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        account = hark.check_ledger()["remote_write"]
        assert account["stored"] == 4 * 4 * (6000 + 3), account
        for number in range(8):
            rows = hark.query(f"max(series_{number}) - min(series_{number})", (now + 3) / 1000)
            assert list(rows.values()) == [0.0], rows
            assert hark.value(f"max(series_{number})", at=(now + 3) / 1000) == 3.0


def test_order_on_a_connection():
    """Two requests are sent one after the other without waiting: the later value wins."""
    with Hark() as hark:
        now = now_ms()
        first = large("again", 5000, now)
        second = large("again", 2, now, lambda i: -1.0)
        with connect(hark) as client:
            client.sendall(head(len(first)) + first + head(len(second)) + second)
            got = b""
            while got.count(b"HTTP/1.1 204") < 2:
                part = client.recv(65536)
                assert part, got
                got += part
        assert hark.value('again{i="1"}', at=now / 1000) == -1.0
        assert hark.value('again{i="2"}', at=now / 1000) == 2.0
        hark.check_ledger()


def test_a_body_is_judged_whole():
    """The halves of each body add up to 0; while it is taken, small bodies are committed."""
    with Sink() as sink:
        with Hark(CONFIG.format(url=sink.url), files={"rules.yml": RULES}) as hark:
            begin = now_ms() - 60000
            stop = threading.Event()

            def small():
                number = 0
                while not stop.is_set():
                    number += 1
                    labels = {"__name__": "small", "n": str(number % 7)}
                    assert remote_write(hark, [(labels, [(1.0, now_ms() - 1)])]) == 204

            thread = threading.Thread(target=small)
            thread.start()
            try:
                for step in range(12):
                    body = large("half", 4000, begin + step * 1000,
                                 lambda i: float(step + 1) * (1 if i < 2000 else -1))
                    status, _, _ = hark.request("POST", "/api/v1/write", body, WRITE_HEADERS)
                    assert status == 204, status
                labels = {"__name__": "crossing", "n": "1"}
                assert remote_write(hark, [(labels, [(101.0, now_ms() - 1)])]) == 204
                sink.wait(1)
            finally:
                stop.set()
                thread.join()
            names = {alert["labels"]["alertname"]
                     for _, _, body in sink.wait(1) for alert in body["alerts"]}
            assert names == {"Crossing"}, names
            hark.check_ledger()
            lag = hark.get("/api/hark/v1/lag")
            turns = {row["turn"]: row for row in lag["turns"]}
            hops = {row["hop"]: row for row in lag["hops"]}
            assert turns["parse"]["count"] > 12 * 4, turns
            assert turns["commit"]["count"] >= 12, turns  # more: small ones that share a lane
            assert hops["acted"]["count"] <= 1, hops  # 0: the connection was not warm
            for row in (*turns.values(), *hops.values()):
                if row["count"]:
                    assert 0 <= row["p50_ns"] <= row["p99_ns"] * 1.07, row
            _, _, text = hark.request("GET", "/metrics")
            found = re.search(rb'hark_turn_seconds_count\{turn="commit"\} (\d+)', text)
            assert found and int(found[1]) >= 12, text[:300]
