"""A real Prometheus sends what it scrapes of itself."""
from harness import Hark, Program, free_port, peer, wait_for

CONFIG = """
global: {{scrape_interval: 1s, external_labels: {{origin: peer}}}}
remote_write:
- url: http://127.0.0.1:{hark}/api/v1/write
  queue_config: {{batch_send_deadline: 100ms}}
scrape_configs:
- job_name: itself
  static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""


def test_remote_write_of_prometheus():
    binary = peer("prometheus", "usr/bin/prometheus")
    with Hark() as hark:
        port = free_port()
        config = CONFIG.format(hark=hark.ports["http"], port=port)
        with Program(binary, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                     f"--web.listen-address=127.0.0.1:{port}",
                     files={"prometheus.yml": config}) as prometheus:

            def arrived():
                prometheus.alive()
                return hark.query('prometheus_build_info{job="itself",origin="peer"}')

            labels = dict(next(iter(wait_for(arrived, "prometheus_build_info"))))
            assert labels["version"].startswith("2.42"), labels
            assert labels["instance"] == f"127.0.0.1:{port}", labels
            assert hark.value('up{job="itself"}') == 1.0

            def two_scrapes():
                prometheus.alive()
                return hark.value('count_over_time(up{job="itself"}[1m])') >= 2

            wait_for(two_scrapes, "a second scrape")
            buckets = hark.query('prometheus_http_request_duration_seconds_bucket{handler="/metrics"}')
            assert len(buckets) > 5, buckets
            bounds = sorted((float(dict(row)["le"]), value) for row, value in buckets.items())
            counts = [value for _, value in bounds]
            assert bounds[-1][0] == float("inf") and counts == sorted(counts), bounds
        account = hark.check_ledger()["remote_write"]
        assert account["stored"] == account["received"] > 500, account
        assert not account["dropped"], account
