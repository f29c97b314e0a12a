"""Scraping through a file that is a prometheus.yml: an exporter, an SDK, relabelling, discovery."""
import http.server
import json
import os
import threading

from harness import Hark, Program, free_port, peer, wait_for

EXPORTER = """
global:
  scrape_interval: 15s
scrape_configs:
- job_name: node
  scrape_interval: 100ms
  scrape_timeout: 100ms
  static_configs:
  - targets: ['127.0.0.1:{port}']
"""


def config_of(jobs):
    """A configuration without host metrics, so that every series is a scraped one."""
    return "host_metrics: {enabled: false}\n" + jobs


def targets(hark, pool=""):
    path = "/api/v1/targets" + (f"?scrapePool={pool}" if pool else "")
    return hark.get(path)["data"]["activeTargets"]


class Page:
    """An HTTP server with one page of metrics."""

    def __init__(self, text):
        page = self
        self.text = text

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = page.text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None  # a scrape that was given up
        self.address = "127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()


def test_node_exporter_at_100_ms():
    port = free_port()
    binary = peer("prometheus-node-exporter", "usr/bin/prometheus-node-exporter")
    with Program(binary, f"--web.listen-address=127.0.0.1:{port}", "--collector.disable-defaults",
                 "--collector.loadavg", "--collector.cpu", "--collector.meminfo") as exporter:
        with Hark(EXPORTER.format(port=port)) as hark:

            def is_up():
                exporter.alive()
                return hark.value('up{job="node"}') == 1.0

            wait_for(is_up, "up == 1")
            wait_for(lambda: hark.query('node_load1{job="node"}'), "node_load1")
            labels = dict(next(iter(hark.query('node_load1{job="node"}'))))
            assert labels["instance"] == f"127.0.0.1:{port}", labels
            assert hark.value('scrape_samples_scraped{job="node"}') > 20
            assert hark.value('scrape_duration_seconds{job="node"}') > 0
            wait_for(lambda: hark.value('count_over_time(up{job="node"}[1m])') >= 5, "5 scrapes")
            shown, = targets(hark, "node")
            assert shown["labels"] == {"job": "node", "instance": f"127.0.0.1:{port}"}, shown
            assert shown["scrapeUrl"] == f"http://127.0.0.1:{port}/metrics", shown
            exporter.kill()
            wait_for(lambda: hark.value('up{job="node"}') == 0.0, "up == 0", 5)
            wait_for(lambda: not hark.query('node_load1{job="node"}'), "stale series", 5)
            assert not hark.query('{__name__=~"node_.+",job="node"}')
            shown, = targets(hark, "node")
            assert shown["health"] == "down" and shown["lastError"], shown
            hark.check_ledger()


def test_opentelemetry_reader():
    import prometheus_client
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    reader = PrometheusMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    provider.get_meter("example-meter").create_counter("example_counter").add(1)
    server, thread = prometheus_client.start_http_server(0, addr="127.0.0.1")
    jobs = f"""
scrape_configs:
- job_name: sdk
  scrape_interval: 100ms
  static_configs: [{{targets: ['127.0.0.1:{server.server_address[1]}']}}]
"""
    try:
        with Hark(config_of(jobs)) as hark:
            wait_for(lambda: hark.query("example_counter_total"), "example_counter_total")
            (labels, value), = hark.query("example_counter_total").items()
            assert value == 1.0 and dict(labels)["job"] == "sdk", (labels, value)
            hark.check_ledger()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        provider.shutdown()


def test_relabelling():
    with Page("keep_me 1\ndrop_me 2\nlabelled{path=\"/a\",noise=\"x\"} 3\n") as page:
        jobs = f"""
scrape_configs:
- job_name: relabelled
  scrape_interval: 100ms
  static_configs:
  - targets: ['{page.address}']
    labels: {{env: prod}}
  - targets: ['127.0.0.1:1']
    labels: {{env: test}}
  relabel_configs:
  - {{source_labels: [env], regex: test, action: drop}}
  - {{source_labels: [__address__], regex: '([^:]+):.*', target_label: instance, replacement: 'host-$1'}}
  metric_relabel_configs:
  - {{source_labels: [__name__], regex: drop_.*, action: drop}}
  - {{regex: noise, action: labeldrop}}
"""
        with Hark(config_of(jobs)) as hark:
            wait_for(lambda: hark.query("labelled"), "the page")
            base = {"env": "prod", "instance": "host-127.0.0.1", "job": "relabelled"}
            rows = {dict(row)["__name__"]: dict(row) for row in hark.query('{env="prod"}')}
            assert rows["labelled"] == {"__name__": "labelled", "path": "/a", **base}, rows
            assert rows["keep_me"] == {"__name__": "keep_me", **base}, rows
            assert "drop_me" not in rows, rows
            assert hark.value("scrape_samples_post_metric_relabeling") == 2.0
            assert not hark.query('up{env="test"}')
            shown, = targets(hark)
            assert shown["labels"] == base and shown["health"] == "up", shown
            assert shown["scrapePool"] == "relabelled" and not shown["lastError"], shown
            data = hark.get("/api/v1/targets")["data"]
            assert len(data["droppedTargets"]) == 1, data["droppedTargets"]
            hark.check_ledger()


def test_vanished_series_go_stale():
    with Page("stays 1\nleaves 1\n") as page:
        jobs = f"""
scrape_configs:
- job_name: page
  scrape_interval: 100ms
  static_configs: [{{targets: ['{page.address}']}}]
"""
        with Hark(config_of(jobs)) as hark:
            wait_for(lambda: hark.query("leaves"), "the first scrape")
            page.text = "stays 2\n"
            wait_for(lambda: hark.value("stays") == 2.0, "a scrape of the new page")
            assert not hark.query("leaves")
            page.text = "this is { no metric\n"
            wait_for(lambda: hark.value("up") == 0.0, "up == 0")
            assert not hark.query("stays")
            page.text = "stays 3\n"
            wait_for(lambda: hark.value("stays") == 3.0, "recovery")
            hark.check_ledger()


LIMITED = """
- job_name: {name}
  scrape_interval: 100ms
  static_configs: [{{targets: ['{address}']}}]
  {limits}
"""
DROP = "metric_relabel_configs: [{source_labels: [__name__], regex: drop_.*, action: drop}]"
# Limits of a job (two samples are left where DROP stands) and the error they lead to.
LIMITS = {
    "samples_fit": (["sample_limit: 2", DROP], None),
    "samples": (["sample_limit: 1", DROP], "sample limit exceeded"),
    "samples_as_they_come": (["sample_limit: 2"], "sample limit exceeded"),
    "labels_fit": (["label_limit: 4", DROP], None),
    "labels_without_relabelling": (
        ["label_limit: 4"],
        "label_limit exceeded (metric: drop_me, number of labels: 5, limit: 4)"),
    "labels": (["label_limit: 3", DROP],
               "label_limit exceeded (metric: labelled, number of labels: 4, limit: 3)"),
    "names_fit": (["label_name_length_limit: 8"], None),
    "names": (["label_name_length_limit: 7"],
              "label_name_length_limit exceeded (metric: keep_me, label name: __name__, length: 8, "
              "limit: 7)"),
    "values_fit": (["label_value_length_limit: 9"], None),
    "values": (["label_value_length_limit: 8"],
               "label_value_length_limit exceeded (metric: keep_me, label name: instance, value "
               "length: 9, limit: 8)"),
}


def test_limits():
    """A page over a limit counts for nothing: up 0, the reason among the targets."""
    relabel = "relabel_configs: [{target_label: instance, replacement: localhost}]"
    with Page("keep_me 1\ndrop_me{a=\"b\",c=\"d\"} 2\nlabelled{path=\"/a\"} 3\n") as page:
        jobs = "scrape_configs:" + "".join(
            LIMITED.format(name="job%02d" % at, address=page.address,
                           limits="\n  ".join([relabel, *limits]))
            for at, (limits, _) in enumerate(LIMITS.values()))
        with Hark(config_of(jobs)) as hark:
            wait_for(lambda: len(hark.query("scrape_samples_scraped")) == len(LIMITS), "all targets")
            for at, (name, (_, error)) in enumerate(LIMITS.items()):
                job = "job%02d" % at
                shown, = targets(hark, job)
                assert shown["lastError"] == (error or ""), (name, shown["lastError"])
                assert shown["health"] == ("down" if error else "up"), (name, shown)
                assert hark.value('up{job="%s"}' % job) == (0.0 if error else 1.0), name
                kept = hark.query('{__name__=~"keep_me|labelled",job="%s"}' % job)
                assert len(kept) == (0 if error else 2), (name, kept)
            # The page shrinks: the limit is kept, the target comes back.
            page.text = "keep_me 4\n"
            for at, (name, (_, error)) in enumerate(LIMITS.items()):
                if name in ("samples", "samples_as_they_come", "labels"):
                    wait_for(lambda: hark.value('keep_me{job="job%02d"}' % at) == 4.0, name)
            page.text = "keep_me 5\nlabelled{path=\"/a\"} 6\n"
            wait_for(lambda: hark.value("up{job='job01'}") == 0.0, "the limit again")
            assert not hark.query("keep_me{job='job01'}")
            assert hark.value("scrape_samples_scraped{job='job01'}") == 2.0
            assert hark.value("scrape_samples_post_metric_relabeling{job='job01'}") == 2.0
            assert hark.check_ledger()["scrape"]["dropped"]["scrape_limit"] > 0


def test_targets_from_files():
    jobs = """
scrape_configs:
- job_name: found
  scrape_interval: 100ms
  file_sd_configs:
  - files: ['targets/*.json']
    refresh_interval: 1s
"""
    with Page("first_page 1\n") as one, Page("second_page 1\n") as two:
        first = json.dumps([{"targets": [one.address], "labels": {"file": "one"}}])
        with Hark(config_of(jobs), files={"targets/one.json": first}) as hark:
            wait_for(lambda: hark.query('first_page{file="one"}'), "the first target")
            assert len(targets(hark)) == 1
            text = json.dumps([{"targets": [two.address], "labels": {"file": "two"}}])
            (hark.folder / "two.tmp").write_text(text)
            os.rename(hark.folder / "two.tmp", hark.folder / "targets/two.json")
            wait_for(lambda: hark.query('second_page{file="two"}'), "the target of a new file")
            (hark.folder / "targets/one.json").unlink()
            wait_for(lambda: len(targets(hark)) == 1, "the end of the first target")
            wait_for(lambda: not hark.query("first_page"), "stale series of a target that left")
            hark.check_ledger()
