"""Hostile requests on every listener: malformed, truncated, oversized. The status is the right one,
the text is clear, the server lives on, and the ledger balances."""
import gzip
import json
import random
import socket
import struct

from harness import (WRITE_HEADERS, Hark, free_port, now_ms, snappy, varint, wait_for,
                     write_request)
from test_protocols import WRITE_2_HEADERS, write_2_request

SMALL = """
host_metrics: {{enabled: false}}
limits: {{request_bytes: 64KiB, decoded_bytes: 128KiB, header_timeout: 1s, request_timeout: 1s}}
statsd: {{listen: '127.0.0.1:{statsd}', flush_interval: 100ms}}
"""
EXPORT = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
PROTO = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
LIMIT = 64 * 1024


def otlp(name, value=1):
    """A request with one gauge."""
    return {"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]},
        "scopeMetrics": [{"scope": {"name": "m"}, "metrics": [{
            "name": name, "gauge": {"dataPoints": [{
                "asDouble": value, "timeUnixNano": str(now_ms() * 1000000),
                "attributes": [{"key": "a", "value": {"stringValue": "b"}}]}]}}]}]}]}


def otlp_proto(name):
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest)
    return ParseDict(otlp(name), ExportMetricsServiceRequest()).SerializeToString()


def one(name):
    return [({"__name__": name, "job": "hostile"}, [(1.0, now_ms())])]


class Receiver:
    """Where a body goes, a good one, how a body is packed, and the status of success."""

    def __init__(self, path, headers, good, pack=lambda body: body, port="http", status=204):
        self.path, self.headers, self.good, self.pack = path, headers, good, pack
        self.port, self.status = port, status

    def post(self, hark, body, headers=None):
        return hark.request("POST", self.path, body, headers or self.headers, self.port)

    def send(self, hark, body):
        return self.post(hark, self.pack(body))


RECEIVERS = {
    "remote_write_1": Receiver(
        "/api/v1/write", WRITE_HEADERS, lambda name: write_request(one(name)), snappy),
    "remote_write_2": Receiver(
        "/api/v1/write", WRITE_2_HEADERS, lambda name: write_2_request(one(name)), snappy),
    "otlp_proto": Receiver("/v1/metrics", PROTO, otlp_proto, port="otlp_http", status=200),
    "otlp_json": Receiver(
        "/v1/metrics", JSON, lambda name: json.dumps(otlp(name)).encode(), port="otlp_http",
        status=200),
    "influx_1": Receiver("/write", TEXT, lambda name: f"{name} value=1\n".encode()),
    "influx_2": Receiver("/api/v2/write", TEXT, lambda name: f"{name} value=1\n".encode()),
    "pushgateway": Receiver(
        "/metrics/job/hostile", TEXT, lambda name: f"# TYPE {name} gauge\n{name} 1\n".encode(),
        status=200),
}


def start():
    statsd = free_port()
    hark = Hark(SMALL.format(statsd=statsd))
    hark.statsd = statsd
    return hark


def clear(answer):
    """Has the refusal a text for its reader, in whatever form the protocol has?"""
    return len(answer) >= 8 and sum(32 <= byte < 127 for byte in answer) >= len(answer) * 0.8


def check_alive(hark, receivers, name):
    """A good request is taken by each of the receivers, and its value is there."""
    for key in receivers:
        receiver = RECEIVERS[key]
        metric = f"{name}_{key}"
        status, _, answer = receiver.send(hark, receiver.good(metric))
        assert status == receiver.status, (key, status, answer)
        assert hark.value(metric) == 1.0, metric
    hark.check_ledger()


def test_malformed_and_truncated_bodies():
    """Each body cut at many places, and with damaged bytes: taken or refused, never anything else."""
    rng = random.Random(20)
    with start() as hark:
        for key, receiver in RECEIVERS.items():
            good = receiver.good("cut")
            packed = receiver.pack(good)
            bodies = [packed[:at] for at in range(0, len(packed), max(1, len(packed) // 40))]
            bodies += [receiver.pack(good[:at]) for at in range(0, len(good), max(1, len(good) // 40))]
            for _ in range(80):
                damaged = bytearray(good)
                for _ in range(rng.randrange(1, 4)):
                    damaged[rng.randrange(len(damaged))] = rng.randrange(256)
                bodies.append(receiver.pack(bytes(damaged)))
            bodies += [rng.randbytes(rng.randrange(1, 300)) for _ in range(20)]
            refused = 0
            for body in bodies:
                status, _, answer = receiver.post(hark, body)
                assert status in (200, 204, 400, 413), (key, body, status, answer)
                assert status < 400 or clear(answer), (key, body, status, answer)
                refused += status >= 400
            assert refused > 10, (key, refused, len(bodies))
        check_alive(hark, RECEIVERS, "after")


def test_bodies_over_the_limits():
    """Too many bytes, on the wire or unpacked: 413 and the limit in the text."""
    with start() as hark:
        big = b"x" * (LIMIT + 1)
        for key, receiver in RECEIVERS.items():
            status, _, answer = receiver.post(hark, big)
            assert status == 413 and clear(answer), (key, status, answer)
        bomb = gzip.compress(b"\n" * (1 << 20))
        assert len(bomb) < LIMIT
        for key in ("otlp_proto", "otlp_json", "influx_1", "influx_2", "pushgateway"):
            receiver = RECEIVERS[key]
            headers = {**receiver.headers, "Content-Encoding": "gzip"}
            status, _, answer = receiver.post(hark, bomb, headers)
            assert status == 413 and clear(answer), (key, status, answer)
            status, _, answer = receiver.post(hark, gzip.compress(receiver.good("cut"))[:-9], headers)
            assert status == 400 and clear(answer), (key, status, answer)
        # Snappy says how much it will be: that is enough to refuse it.
        for key in ("remote_write_1", "remote_write_2"):
            status, _, answer = RECEIVERS[key].post(hark, varint(1 << 31) + b"\x00x")
            assert status == 413 and b"131072" in answer, (key, status, answer)
        check_alive(hark, RECEIVERS, "small")


def exchange(port, *parts):
    """Sends bytes; the answer until the server closes (or is silent for 10 s)."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answer = b""
        try:
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                answer += data
        except ConnectionError:
            pass
        return answer


def test_broken_http():
    """What is no HTTP, or half of it, on each port."""
    head = b"POST /api/v1/write HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    cases = [
        (b"\x00\x01\x02\x03\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", None),
        (head + b"Content-Length: -1\r\n\r\n", b"400"),
        (head + b"Content-Length: 99999999999999999999\r\n\r\n", None),
        (head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", b"400"),
        (head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", b"400"),
        (head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n", None),
        (head + b"Content-Length: 100\r\n\r\nhalf", None),
        (head + b"no colon here\r\n\r\n", b"400"),
        (head + b"X: " + b"y" * 200000 + b"\r\n\r\n", b"431"),
        (b"POST /" + b"u" * 200000 + b" HTTP/1.1\r\n\r\n", None),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200, None),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x04\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff",
         None),
        (b"", None),
    ]
    with start() as hark:
        for port in ("http", "otlp_http", "otlp_grpc"):
            for sent, wanted in cases:
                answer = exchange(hark.ports[port], sent)
                line = answer.split(b"\r\n")[0]
                if answer.startswith(b"HTTP/1"):
                    assert line.split()[1][:1] in b"45", (port, sent[:80], line)
                if wanted is not None:
                    assert line.split()[1:2] == [wanted], (port, sent[:80], answer[:200])
        check_alive(hark, RECEIVERS, "http")


def test_slow_clients():
    """Halves of requests that never end: closed with a word after their time, others go on."""
    head = b"POST /api/v1/write HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    halves = [b"G", head, head + b"Content-Length: 100\r\n\r\n1234",
              head + b"Transfer-Encoding: chunked\r\n\r\n4\r\nab"]
    with start() as hark:
        open_ones = []
        for port in ("http", "otlp_http", "otlp_grpc"):
            for half in halves * 10:
                connection = socket.create_connection(("127.0.0.1", hark.ports[port]), timeout=30)
                connection.sendall(half)
                open_ones.append(connection)
        check_alive(hark, RECEIVERS, "meanwhile")
        for connection in open_ones:
            answer = b""
            with connection:
                while data := connection.recv(65536):
                    answer += data
            assert answer.startswith(b"HTTP/1.1 408 ") and b"did not arrive in time" in answer, answer
        check_alive(hark, RECEIVERS, "later")


def grpc_calls(hark):
    """Unary calls of raw bytes: call(path, body) gives (code, details)."""
    import grpc
    channel = grpc.insecure_channel(f"127.0.0.1:{hark.ports['otlp_grpc']}")

    def call(path, body, compression=None):
        method = channel.unary_unary(path, request_serializer=lambda raw: raw,
                                     response_deserializer=lambda raw: raw)
        try:
            method(body, timeout=30, compression=compression)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, ""
    return channel, call


def test_grpc():
    import grpc
    code = grpc.StatusCode
    rng = random.Random(21)
    with start() as hark:
        channel, call = grpc_calls(hark)
        good = otlp_proto("cut")
        bodies = [good[:at] for at in range(1, len(good), 2)]
        for _ in range(100):
            damaged = bytearray(good)
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            bodies.append(bytes(damaged))
        refused = 0
        for body in bodies:
            got, details = call(EXPORT, body)
            assert got in (code.OK, code.INVALID_ARGUMENT), (body, got, details)
            assert got == code.OK or clear(details.encode()), (body, details)
            refused += got != code.OK
        assert refused > 20, (refused, len(bodies))
        got, details = call(EXPORT, b"x" * (LIMIT + 1))
        assert got == code.RESOURCE_EXHAUSTED and clear(details.encode()), (got, details)
        got, details = call(EXPORT, b"\n" * (1 << 20), grpc.Compression.Gzip)
        assert got == code.RESOURCE_EXHAUSTED and clear(details.encode()), (got, details)
        got, details = call("/opentelemetry.proto.collector.none.v1.None/Export", good)
        assert got == code.UNIMPLEMENTED, (got, details)
        assert call(EXPORT, otlp_proto("after_grpc"))[0] == code.OK
        channel.close()
        assert hark.value("after_grpc") == 1.0
        check_alive(hark, RECEIVERS, "grpc")


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header field, not indexed, not compressed (RFC 7541 §6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def grpc_head(port):
    headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", EXPORT.encode()),
               (b":authority", b"127.0.0.1:%d" % port), (b"content-type", b"application/grpc"),
               (b"te", b"trailers")]
    return (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
            + frame(1, 4, 1, b"".join(literal(name, value) for name, value in headers)))


def test_grpc_framing():
    """Messages whose length prefix lies, is cut off, or asks for what is not offered."""
    with start() as hark:
        port = hark.ports["otlp_grpc"]
        good = otlp_proto("framed")
        for message in (b"", b"\x00", b"\x00\x00\x00", b"\x00" + struct.pack(">I", 1000) + good,
                        b"\x00\xff\xff\xff\xff" + good, b"\x00" + struct.pack(">I", 3) + good,
                        b"\x01" + struct.pack(">I", len(good)) + good,
                        b"\x07" + struct.pack(">I", len(good)) + good):
            answer = exchange(port, grpc_head(port) + frame(0, 1, 1, message))
            assert b"grpc" in answer or len(answer) > 9, (message[:20], answer)
        # A good one in the same way, so that the bytes above were wrong for their own reason only.
        exchange(port, grpc_head(port) + frame(0, 1, 1, b"\x00" + struct.pack(">I", len(good)) + good))
        wait_for(lambda: hark.value("framed") == 1.0, "the framed request")
        # A stream without an end, and one that is reset.
        exchange(port, grpc_head(port) + frame(0, 0, 1, b"\x00\x00"))
        exchange(port, grpc_head(port) + frame(0, 0, 1, b"\x00\x00") + frame(3, 0, 1, b"\0\0\0\x08"))
        check_alive(hark, RECEIVERS, "framing")


def test_statsd():
    """Datagrams cannot be answered: each bad line is one that was received and dropped."""
    rng = random.Random(22)
    with start() as hark, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        address = ("127.0.0.1", hark.statsd)

        def settle(name):
            """Waits until all before was taken. A gauge: it may be sent again if it got lost."""
            polls = 0

            def arrived():
                nonlocal polls
                if polls % 100 == 0:
                    sender.sendto(b"%s:1|g" % name.encode(), address)
                polls += 1
                return hark.value(name) == 1.0
            wait_for(arrived, name)

        settle("first")
        before = hark.check_ledger()["statsd"]
        bad = [b"\x00" * 100, b":1|c", b"x:", b"x:1", b"x:1|", b"x:1|zz", b"x:nan|c", b"x:1|c|@0",
               b"x:1|c|@", b"x:1|c|#" + b"," * 50, b"|" * 500, b":" * 500, b"\xff\xfe:1|c",
               b"x:1e999|c", b"y" * 65507, b"z:1|c\n" * 3 + b"z:1|"]
        for at, datagram in enumerate(bad):
            sender.sendto(datagram, address)
            sender.sendto(b"", address)
            settle(f"bad{at}")
        good = b"cut:12.5|ms|@0.5|#a:b,c:d"
        for at, datagram in enumerate([good[:n] for n in range(len(good))]
                                      + [rng.randbytes(rng.randrange(1, 1400)) for _ in range(100)]):
            sender.sendto(datagram, address)
            if at % 20 == 19:
                settle(f"step{at}")
        settle("last")
        after = hark.check_ledger()["statsd"]
        assert after["received"] > before["received"] + 100, (before, after)
        assert sum(after["dropped"].values()) > 50, after
        check_alive(hark, RECEIVERS, "statsd")
