"""What hark does at its limits: no room on the disk."""
import json
import resource

from harness import Hark, WRITE_HEADERS, now_ms, remote_write, snappy, wait_for, write_request


def otlp_body(value):
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="otlp_level")
    metric.gauge.data_points.add(as_double=value, time_unix_nano=now_ms() * 1000000)
    return request.SerializeToString()


def otlp_grpc(hark, value):
    """Name of the status code, and the trailing metadata."""
    import grpc
    with grpc.insecure_channel(f"127.0.0.1:{hark.ports['otlp_grpc']}") as channel:
        call = channel.unary_unary("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export")
        try:
            call(otlp_body(value), timeout=30)
        except grpc.RpcError as error:
            return error.code().name, dict(error.trailing_metadata() or ())
    return "OK", {}


def write_paths(hark):
    """Status and headers of a sample sent over each HTTP path."""
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{
        "name": "json_level", "gauge": {"dataPoints": [{
            "asDouble": 1.0, "timeUnixNano": str(now_ms() * 1000000)}]}}]}]}]})
    series = [({"__name__": "written"}, [(1.0, now_ms())])]
    protobuf = {"Content-Type": "application/x-protobuf"}
    return {
        "remote_write": hark.request("POST", "/api/v1/write", snappy(write_request(series)), WRITE_HEADERS),
        "otlp": hark.request("POST", "/v1/metrics", otlp_body(1.0), protobuf, "otlp_http"),
        "otlp_json": hark.request(
            "POST", "/v1/metrics", body, {"Content-Type": "application/json"}, "otlp_http"),
        "influx": hark.request("POST", "/write", "influx_level value=1"),
        "influx_v2": hark.request("POST", "/api/v2/write?bucket=b", "influx_level value=1"),
        "push": hark.request("PUT", "/metrics/job/batch", "pushed_level 1\n"),
    }


def test_full_disk():
    """A limit on the size of files stands for a disk without room: each write is refused."""
    with Hark(config="host_metrics: {enabled: false}\ninflux: {enabled: true}\n") as hark:
        at = now_ms()
        for i in range(20):
            assert remote_write(hark, [({"__name__": "kept", "i": str(i)}, [(i, at)])]) == 204
        pid = hark.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
        for name, (status, headers, body) in write_paths(hark).items():
            assert status == 503, (name, status, body)
            assert int(headers["retry-after"]) > 0, (name, headers)
            assert b"disk is full" in body, (name, body)
        code, trailers = otlp_grpc(hark, 2.0)
        assert code == "RESOURCE_EXHAUSTED", code
        assert b"RetryInfo" in trailers["grpc-status-details-bin"], trailers
        # Reading goes on.
        assert len(hark.query("kept", at=at / 1000)) == 20
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        wait_for(lambda: remote_write(hark, [({"__name__": "healed"}, [(1.0, now_ms())])]) == 204,
                 "the disk to heal")
        for name, (status, _, body) in write_paths(hark).items():
            assert status in (200, 202, 204), (name, status, body)
        assert otlp_grpc(hark, 3.0)[0] == "OK"
        hark.check_ledger()
        hark.kill()
        hark.start()
        assert len(hark.query("kept", at=at / 1000)) == 20
        assert hark.value("healed") == 1.0
        hark.check_ledger()


def anon_bytes(hark):
    for line in open(f"/proc/{hark.process.pid}/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


def new_series(count, first):
    pad = "x" * 60
    return [({"__name__": "flood", "n": str(n), "pad": f"{pad}{n}"}, [(1.0, now_ms())])
            for n in range(first, first + count)]


def test_memory_cap():
    """Beyond --memory new series are refused with a reason and counted; known ones go on."""
    cap = 128 << 20
    with Hark(flags=["--memory", "128MiB"]) as hark:
        known = [({"__name__": "known", "i": str(i)}, [(0.0, now_ms())]) for i in range(100)]
        assert remote_write(hark, known) == 204
        peak = 0
        made = 0
        for turn in range(200):
            body = snappy(write_request(new_series(5000, turn * 5000)))
            status, headers, text = hark.request("POST", "/api/v1/write", body, WRITE_HEADERS)
            peak = max(peak, anon_bytes(hark))
            if status == 429:
                break
            assert status == 204, (status, text)
            made += 5000
        assert status == 429, "the cap was never reached"
        assert b"memory limit" in text and int(headers["retry-after"]) > 0, (text, headers)
        assert made >= 20000, made
        # Known ones are taken, and the process lives within its cap.
        for turn in range(20):
            status, headers, text = hark.request(
                "POST", "/api/v1/write", snappy(write_request(new_series(2000, 10**7 + turn * 2000))),
                WRITE_HEADERS)
            assert status in (204, 429), (status, text)  # flushing may have made room
            sent = [(labels, [(float(turn), now_ms())]) for labels, _ in known]
            wait_for(lambda: remote_write(hark, sent) == 204, "known series to be taken")
            peak = max(peak, anon_bytes(hark))
        assert hark.value("sum(known)") == 1900.0
        assert b"hark_series_retired_total" in hark.request("GET", "/metrics")[2]
        assert peak <= cap * 1.05, (peak, cap)
        ledger = hark.check_ledger()
        assert ledger["remote_write"]["dropped"]["memory_limit"] > 0, ledger
        print(f"# {made} series, RssAnon at most {peak / 2**20:.1f} of {cap >> 20} MiB")
