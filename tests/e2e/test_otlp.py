"""OpenTelemetry's SDKs: Python over gRPC and HTTP/protobuf, JavaScript over gRPC, HTTP/protobuf and
HTTP/JSON. JSON by hand."""
import json
import os
import subprocess

from harness import ROOT, Hark, free_port, now_ms, wait_for


def make_instruments(reader):
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
    from opentelemetry.sdk.resources import Resource
    provider = MeterProvider(
        metric_readers=[reader],
        resource=Resource.create({"service.name": "shop", "service.instance.id": "i1", "tier": "gold"}),
        views=[View(instrument_name="exp", aggregation=ExponentialBucketHistogramAggregation())])
    meter = provider.get_meter("example-meter")
    counter = meter.create_counter("orders", unit="1")
    updown = meter.create_up_down_counter("carts")
    gauge = meter.create_gauge("queue.depth")
    histogram = meter.create_histogram("latency", unit="s")
    exponential = meter.create_histogram("exp", unit="s")
    for step in range(10):
        counter.add(2, {"kind": "book"})
        updown.add(1 if step % 3 else -1)
        gauge.set(step)
        histogram.record(0.05 * step)
        exponential.record(0.05 * step)
    return provider


def check_values(hark):
    def ready():
        return hark.value("orders_total") == 20.0
    wait_for(ready, "orders_total")
    rows = hark.query("orders_total")
    labels = dict(next(iter(rows)))
    assert labels["job"] == "shop" and labels["instance"] == "i1" and labels["kind"] == "book", labels
    assert hark.value("carts") == 2.0
    assert hark.value("queue_depth") == 9.0
    assert hark.value("latency_seconds_count") == 10.0
    assert abs(hark.value("latency_seconds_sum") - 2.25) < 1e-9
    assert hark.value('latency_seconds_bucket{le="+Inf"}') == 10.0
    assert hark.value("histogram_count(exp_seconds)") == 10.0
    assert abs(hark.value("histogram_sum(exp_seconds)") - 2.25) < 1e-9
    assert dict(next(iter(hark.query("target_info"))))["tier"] == "gold"
    hark.check_ledger()


def test_sdk_grpc():
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    with Hark() as hark:
        exporter = OTLPMetricExporter(endpoint=f"http://127.0.0.1:{hark.ports['otlp_grpc']}", insecure=True)
        provider = make_instruments(PeriodicExportingMetricReader(exporter, 60000))
        assert provider.force_flush()
        check_values(hark)
        provider.shutdown()


def test_sdk_http_protobuf():
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    with Hark() as hark:
        exporter = OTLPMetricExporter(endpoint=f"http://127.0.0.1:{hark.ports['otlp_http']}/v1/metrics")
        provider = make_instruments(PeriodicExportingMetricReader(exporter, 60000))
        assert provider.force_flush()
        check_values(hark)
        provider.shutdown()


def send_by_javascript(protocol, url):
    """The instruments of make_instruments(), sent once by js/send.js."""
    packages = ROOT / "build/js/node_modules"
    assert packages.exists(), f"{packages} is missing: ./dev deps installs it"
    run = subprocess.run(
        ["node", str(ROOT / "tests/e2e/js/send.js"), protocol, url], capture_output=True, text=True,
        timeout=120, env={**os.environ, "NODE_PATH": str(packages)})
    assert run.returncode == 0, run.stdout + run.stderr


def check_javascript(protocol, listener, path=""):
    with Hark() as hark:
        send_by_javascript(protocol, f"http://127.0.0.1:{hark.ports[listener]}{path}")
        check_values(hark)
        accounts = hark.ledger()
        assert accounts[listener]["received"] > 0, accounts


def test_javascript_grpc():
    check_javascript("grpc", "otlp_grpc")


def test_javascript_http_protobuf():
    check_javascript("proto", "otlp_http", "/v1/metrics")


def test_javascript_http_json():
    check_javascript("json", "otlp_http", "/v1/metrics")


def test_legacy_port():
    """The counter of the OpenTelemetry documentation over OTLP/HTTP on the port before 4318."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    with Hark(flags=["--otlp-legacy", "127.0.0.1:0"]) as hark:
        exporter = OTLPMetricExporter(
            endpoint=f"http://127.0.0.1:{hark.ports['otlp_legacy']}/v1/metrics")
        provider = MeterProvider([PeriodicExportingMetricReader(exporter, 3600000)])
        provider.get_meter("example-meter").create_counter("example_counter").add(1)
        assert provider.force_flush()
        assert hark.value("example_counter_total") == 1.0
        provider.shutdown()
        hark.check_ledger()


def test_legacy_port_of_the_configuration():
    port = free_port()
    config = "host_metrics: {enabled: false}\nserver: {otlp_legacy: '127.0.0.1:%d'}\n" % port
    with Hark(config) as hark:
        assert hark.ports["otlp_legacy"] == port, hark.ports
        status, _, answer = hark.request(
            "POST", "/v1/metrics", "{}", {"Content-Type": "application/json"}, "otlp_legacy")
        assert (status, json.loads(answer)) == (200, {}), (status, answer)
    with Hark() as hark:
        assert "otlp_legacy" not in hark.ports, hark.ports


def test_json():
    with Hark() as hark:
        body = {"resourceMetrics": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "js"}}]},
            "scopeMetrics": [{"scope": {"name": "m"}, "metrics": [{
                "name": "hits", "unit": "1",
                "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [{
                    "asInt": "7", "timeUnixNano": str(now_ms() * 1000000),
                    "attributes": [{"key": "a", "value": {"intValue": "1"}}]}]}}]}]}]}
        status, headers, answer = hark.request(
            "POST", "/v1/metrics", json.dumps(body), {"Content-Type": "application/json"}, "otlp_http")
        assert status == 200 and json.loads(answer) == {}, (status, answer)
        assert hark.value('hits_total{job="js",a="1"}') == 7.0
        hark.check_ledger()


def delta_provider(hark):
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
    from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
    from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
    from opentelemetry.sdk.resources import Resource
    delta = AggregationTemporality.DELTA
    exporter = OTLPMetricExporter(
        endpoint=f"http://127.0.0.1:{hark.ports['otlp_grpc']}", insecure=True,
        preferred_temporality={Counter: delta, Histogram: delta})
    return MeterProvider(
        metric_readers=[PeriodicExportingMetricReader(exporter, 60000)],
        resource=Resource.create({"service.name": "shop", "service.instance.id": "i1"}),
        views=[View(instrument_name="exp", aggregation=ExponentialBucketHistogramAggregation())])


def test_sdk_delta():
    """Delta sums and histograms of both kinds add up, also across a kill and a restart."""
    with Hark() as hark:
        count = 0
        for life in range(2):
            provider = delta_provider(hark)
            meter = provider.get_meter("example-meter")
            counter = meter.create_counter("orders", unit="1")
            instruments = [meter.create_histogram("latency", unit="s"), meter.create_histogram("exp", unit="s")]
            for turn in range(3):
                counter.add(2)
                for instrument in instruments:
                    # Wider and wider: the exponential one lowers its resolution on the way.
                    instrument.record(0.001 * 50 ** turn)
                    instrument.record(0.1)
                count += 2
                assert provider.force_flush()
                wait_for(lambda: hark.value("histogram_count(exp_seconds)") == count, "exponential histogram")
            assert hark.value("orders_total") == count
            assert hark.value("latency_seconds_count") == count
            assert hark.value('latency_seconds_bucket{le="+Inf"}') == count
            total = (life + 1) * (0.001 + 0.05 + 2.5 + 0.3)
            assert abs(hark.value("histogram_sum(exp_seconds)") - total) < 1e-9
            assert abs(hark.value("latency_seconds_sum") - total) < 1e-9
            hark.check_ledger()
            provider.shutdown()
            if life == 0:
                hark.kill()
                hark.start()
