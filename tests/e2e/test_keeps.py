"""Exemplars and metadata: through every receiver, readable at once, still there after kill -9."""
import http.server
import json
import struct
import threading
import urllib.parse

from harness import (Hark, Program, WRITE_HEADERS, fetch, field, free_port, now_ms, peer, sample, snappy,
                     varint, wait_for)
from test_protocols import WRITE_2_HEADERS

OPENMETRICS = """\
# HELP jobs Jobs that ended.
# TYPE jobs counter
jobs_total{kind="a"} 17 # {trace_id="4bf92f3577b34da6"} 0.5
jobs_created{kind="a"} 1700000000.5
# HELP took_seconds Time they took.
# TYPE took_seconds histogram
# UNIT took_seconds seconds
took_seconds_bucket{le="1"} 2 # {trace_id="aaaa"} 0.7 %d.250
took_seconds_bucket{le="+Inf"} 3
took_seconds_count 3
took_seconds_sum 5
# EOF
"""


class OpenMetricsPage:
    def __init__(self, text):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = text.encode()
                self.send_response(200)
                self.send_header(
                    "Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = "127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()


def exemplars(hark, query, **more):
    path = "/api/v1/query_exemplars?" + urllib.parse.urlencode({"query": query, **more})
    return hark.get(path).get("data")


def metadata(hark, **parameters):
    return hark.get("/api/v1/metadata?" + urllib.parse.urlencode(parameters))["data"]


def number(tag, value):
    return varint(tag << 3 | 1) + struct.pack("<d", value)


def write_2(series):
    """Remote Write 2.0 body of [(labels, [(value, stamp)], [(labels, value, stamp)], (type, help,
    unit))]."""
    symbols = [""]

    def number_of(text):
        if text not in symbols:
            symbols.append(text)
        return varint(symbols.index(text))

    def refs_of(labels):
        return b"".join(number_of(word) for pair in sorted(labels.items()) for word in pair)

    body = b""
    for labels, samples, others, (kind, text, unit) in series:
        one = field(1, refs_of(labels)) + b"".join(sample(v, t) for v, t in samples)
        for other, value, stamp in others:
            one += field(4, field(1, refs_of(other)) + number(2, value) + b"\x18" + varint(stamp))
        about = b"\x08" + varint(kind) + b"\x18" + number_of(text) + b"\x20" + number_of(unit)
        body += field(5, one + field(5, about))
    return b"".join(field(4, symbol.encode()) for symbol in symbols) + body


def test_kept_through_a_crash():
    stamp = now_ms()
    series = {"__name__": "hits_total", "job": "two"}
    with Hark() as hark:
        def send(*others):
            body = write_2([(series, [(1.0, stamp)], others, (1, "Hits so far.", "hits"))])
            status, headers, text = hark.request(
                "POST", "/api/v1/write", snappy(body), WRITE_2_HEADERS)
            assert status == 204, (status, text)
            return headers["x-prometheus-remote-write-exemplars-written"]

        one = ({"trace_id": "one"}, 0.25, stamp)
        two = ({"trace_id": "two", "span_id": "é"}, 7.0, stamp + 1)
        late = ({"trace_id": "late"}, 1.0, stamp - 1000)
        long = ({"trace_id": "x" * 121}, 1.0, stamp + 2)
        assert send(one) == "1"
        assert send(one) == "1"  # a repeat: it is there
        assert send(two, late, long) == "1"
        # Remote Write 1.0: metadata beside the series, and an exemplar.
        body = field(1, field(1, field(1, b"__name__") + field(2, b"first")) + sample(3.0, stamp)
                     + field(3, field(1, field(1, b"trace_id") + field(2, b"r1")) + number(2, 3.0)
                             + b"\x18" + varint(stamp)))
        body += field(3, b"\x08\x02" + field(2, b"first") + field(4, b"A \"gauge\".")
                      + field(5, b"bytes"))
        assert hark.request("POST", "/api/v1/write", snappy(body), WRITE_HEADERS)[0] == 204

        wanted = [{"seriesLabels": series, "exemplars": [
            {"labels": {"trace_id": "one"}, "value": "0.25", "timestamp": stamp / 1000},
            {"labels": two[0], "value": "7", "timestamp": (stamp + 1) / 1000}]}]
        first = [{"seriesLabels": {"__name__": "first"}, "exemplars": [
            {"labels": {"trace_id": "r1"}, "value": "3", "timestamp": stamp / 1000}]}]
        about = {"first": [{"type": "gauge", "help": 'A "gauge".', "unit": "bytes"}],
                 "hits_total": [{"type": "counter", "help": "Hits so far.", "unit": "hits"}]}

        def check():
            assert exemplars(hark, 'rate(hits_total{job="two"}[5m]) > 1') == wanted
            assert exemplars(hark, "first + hits_total") == first + wanted
            assert exemplars(hark, "hits_total", end=f"{stamp / 1000 - 1:.3f}") == []
            assert exemplars(hark, "other") == [] and exemplars(hark, "1") is None
            start = f"{(stamp + 1) / 1000:.3f}"
            assert len(exemplars(hark, "hits_total", start=start)[0]["exemplars"]) == 1
            assert metadata(hark) == about
            assert metadata(hark, metric="first") == {"first": about["first"]}
            assert metadata(hark, limit=1) == {"first": about["first"]}
            assert metadata(hark, metric="none") == {} and metadata(hark, limit=0) == {}

        check()
        for path, text in (("query_exemplars?query=up&start=5&end=4", "end timestamp"),
                           ("query_exemplars?query=up(", "parse error"),
                           ("query_exemplars?query=up&start=x", 'invalid parameter "start"'),
                           ("metadata?limit=x", "limit must be a number"),
                           ("metadata?limit_per_metric=x", "limit_per_metric must be a number")):
            status, _, answer = hark.request("GET", "/api/v1/" + path)
            assert status == 400 and text in answer.decode().replace("\\", ""), (status, answer)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert hark.request("POST", "/api/v1/query_exemplars", "query=first", form)[0] == 200
        hark.kill()
        hark.start()
        check()
        page = hark.request("GET", "/metrics")[2].decode()
        assert "\nhark_exemplars 3\n" in page and "\nhark_metadata_metrics 2\n" in page, page
        assert send(one, two) == "1"  # only the newest is known as a repeat
        hark.stop()
        hark.start()
        check()


def test_scraped_openmetrics():
    stamp = now_ms() // 1000
    with OpenMetricsPage(OPENMETRICS % stamp) as page:
        config = f"""
host_metrics: {{enabled: false}}
scrape_configs:
- job_name: om
  scrape_interval: 50ms
  scrape_timeout: 50ms
  static_configs: [{{targets: ['{page.address}']}}]
"""
        with Hark(config) as hark:
            wait_for(lambda: (hark.value('count_over_time(jobs_total[1m])') or 0) >= 3, "3 scrapes")
            series = {"__name__": "jobs_total", "job": "om", "instance": page.address, "kind": "a"}
            found = exemplars(hark, "jobs_total")
            assert len(found) == 1 and found[0]["seriesLabels"] == series, found
            # It has no stamp: one at each scrape would be repeats.
            assert len(found[0]["exemplars"]) == 1, found
            assert found[0]["exemplars"][0]["labels"] == {"trace_id": "4bf92f3577b34da6"}, found
            assert found[0]["exemplars"][0]["value"] == "0.5", found
            bucket = exemplars(hark, "took_seconds_bucket")
            assert [(e["labels"], e["value"], e["timestamp"]) for e in bucket[0]["exemplars"]] == [
                ({"trace_id": "aaaa"}, "0.7", stamp + 0.25)], bucket
            about = metadata(hark)
            assert about["jobs"] == [{"type": "counter", "help": "Jobs that ended.", "unit": ""}]
            assert about["took_seconds"] == [
                {"type": "histogram", "help": "Time they took.", "unit": "seconds"}], about
            # As Prometheus without its feature flag: _created is a series like others.
            assert hark.value("jobs_created") == 1700000000.5


def test_sent_by_prometheus():
    binary = peer("prometheus", "usr/bin/prometheus")
    with OpenMetricsPage(OPENMETRICS % (now_ms() // 1000)) as page, Hark() as hark:
        port = free_port()
        config = f"""
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
remote_write:
- url: http://127.0.0.1:{hark.ports["http"]}/api/v1/write
  send_exemplars: true
  queue_config: {{batch_send_deadline: 100ms}}
  metadata_config: {{send_interval: 200ms}}
scrape_configs:
- job_name: om
  static_configs: [{{targets: ['{page.address}']}}]
- job_name: itself
  static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""
        with Program(binary, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                     "--enable-feature=exemplar-storage",
                     f"--web.listen-address=127.0.0.1:{port}",
                     files={"prometheus.yml": config}) as prometheus:
            def arrived():
                prometheus.alive()
                return len(metadata(hark)) > 100 and exemplars(hark, "took_seconds_bucket")

            found = wait_for(arrived, "metadata and exemplars")
            assert found[0]["seriesLabels"]["job"] == "om", found
            assert found[0]["exemplars"][0]["labels"] == {"trace_id": "aaaa"}, found
            about = metadata(hark)
            assert about["prometheus_tsdb_head_series"] == [{
                "type": "gauge", "unit": "", "help": "Total number of series in the head block."}]
            assert about["took_seconds"] == [
                {"type": "histogram", "help": "Time they took.", "unit": "seconds"}], about


def test_sdk_exemplars():
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    context = trace.SpanContext(
        0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, is_remote=False,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    with Hark() as hark:
        exporter = OTLPMetricExporter(
            endpoint=f"http://127.0.0.1:{hark.ports['otlp_grpc']}", insecure=True)
        provider = MeterProvider(
            metric_readers=[PeriodicExportingMetricReader(exporter, 60000)],
            exemplar_filter=AlwaysOnExemplarFilter())
        meter = provider.get_meter("example-meter")
        with trace.use_span(trace.NonRecordingSpan(context)):
            meter.create_counter("orders", description="Orders.").add(2)
            meter.create_histogram("latency", unit="s", description="Time.").record(0.3)
        assert provider.force_flush()
        found = wait_for(lambda: exemplars(hark, "orders_total"), "an exemplar")
        assert found[0]["exemplars"][0]["labels"] == {
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}, found
        assert found[0]["exemplars"][0]["value"] == "2", found
        bucket = exemplars(hark, "latency_seconds_bucket")
        assert len(bucket) == 1 and bucket[0]["seriesLabels"]["le"] == "5", bucket
        assert bucket[0]["exemplars"][0]["value"] == "0.3", bucket
        about = metadata(hark)
        assert about["orders_total"] == [{"type": "counter", "help": "Orders.", "unit": ""}], about
        assert about["latency_seconds"][0]["type"] == "histogram", about
        provider.shutdown()


def test_own_histograms():
    """/metrics in its protobuf form, as Prometheus with native histograms and hark itself read it."""
    binary = peer("prometheus", "usr/bin/prometheus")
    port = free_port()
    config = f"""
host_metrics: {{enabled: false}}
global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}
scrape_configs:
- job_name: native
  scrape_native_histograms: true
  static_configs: [{{targets: ['127.0.0.1:{port}']}}]
- job_name: text
  static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""
    peer_config = f"""
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
- job_name: hark
  static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""
    with Hark(config, ["--http", f"127.0.0.1:{port}"]) as hark:
        body = snappy(field(1, field(1, field(1, b"__name__") + field(2, b"x"))
                            + sample(1.0, now_ms())))
        for _ in range(20):
            assert hark.request("POST", "/api/v1/write", body, WRITE_HEADERS)[0] == 204

        def count(ask, job):
            rows = ask('histogram_count(hark_hop_seconds{hop="durable",job="%s"})' % job)
            return next(iter(rows.values()), 0)

        wait_for(lambda: count(hark.query, "native") >= 20, "hark's own native histogram")
        p99 = hark.value('histogram_quantile(0.99, hark_hop_seconds{hop="durable",job="native"})')
        exact = [hop for hop in hark.get("/api/hark/v1/lag")["hops"] if hop["hop"] == "durable"][0]
        assert 0 < p99 <= exact["p999_ns"] / 1e9 * 2 + 1e-3, (p99, exact)
        wait_for(lambda: hark.value('hark_hop_seconds_count{hop="durable",job="text"}'), "the text")
        assert not hark.query('hark_hop_seconds_count{job="native"}')
        same = 'count({__name__=~"hark_.*|process_.*",job="%s"}) - count({__name__=~"hark_(hop|turn)_.*",job="%s"})'
        wait_for(lambda: hark.value(same % ("native", "native")) == hark.value(same % ("text", "text")),
                 "the same other series in both forms")
        about = metadata(hark, metric="hark_hop_seconds")["hark_hop_seconds"]
        assert about[0]["type"] == "histogram" and about[0]["help"], about

        with Program(binary, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                     "--enable-feature=native-histograms",
                     f"--web.listen-address=127.0.0.1:{free_port()}",
                     files={"prometheus.yml": peer_config}) as prometheus:
            address = prometheus.command[-1].split("=")[1]

            def ask(expression):
                prometheus.alive()
                text = fetch(f"http://{address}/api/v1/query?"
                             + urllib.parse.urlencode({"query": expression}))
                rows = json.loads(text)["data"]["result"] if text else []
                return {json.dumps(row["metric"]): float(row["value"][1]) for row in rows}

            wait_for(lambda: count(ask, "hark") >= 20, "the native histogram in Prometheus")
            assert next(iter(ask('hark_series{job="hark"}').values())) > 0
            quantile = next(iter(ask(
                'histogram_quantile(0.99, hark_hop_seconds{hop="durable"})').values()))
            assert 0 < quantile < 60, quantile


def test_bounds_and_pushes():
    stamp = now_ms()
    config = "host_metrics: {enabled: false}\nstorage: {exemplars: {max_exemplars: 2}}\n"
    with Hark(config) as hark:
        for i in range(4):
            labels = {"__name__": "m_total", "n": str(i)}
            one = [({"trace_id": f"t{i}"}, 1.0, stamp + i)]
            body = write_2([(labels, [(1.0, stamp)], one, (1, "", ""))])
            status, headers, _ = hark.request("POST", "/api/v1/write", snappy(body), WRITE_2_HEADERS)
            assert status == 204 and headers["x-prometheus-remote-write-exemplars-written"] == "1"
        assert [found["seriesLabels"]["n"] for found in exemplars(hark, "m_total")] == ["2", "3"]
        assert "\nhark_exemplars_displaced_total 2\n" in hark.request("GET", "/metrics")[2].decode()
        text = "# HELP size Size of it.\n# TYPE size gauge\nsize 10\n"
        assert hark.request("PUT", "/metrics/job/backup", text,
                            {"Content-Type": "text/plain; version=0.0.4"})[0] == 200
        assert metadata(hark, metric="size") == {
            "size": [{"type": "gauge", "help": "Size of it.", "unit": ""}]}
    with Hark(config.replace("2", "0")) as hark:
        body = write_2([({"__name__": "m"}, [(1.0, stamp)], [({"a": "b"}, 1.0, stamp)], (2, "", ""))])
        status, headers, _ = hark.request("POST", "/api/v1/write", snappy(body), WRITE_2_HEADERS)
        assert status == 204 and headers["x-prometheus-remote-write-exemplars-written"] == "0"
        assert exemplars(hark, "m") == [] and hark.value("m") == 1.0
