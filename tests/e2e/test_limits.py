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
