"""Who may talk to hark: addresses, TLS, token, Host, Origin; and secrets stay secret."""
import http.client
import json
import ssl
import subprocess

from harness import Hark, now_ms, snappy, wait_for, WRITE_HEADERS, write_request

TOKEN = "tr0ub4dor-and-3"
SECURE = f"""
host_metrics: {{enabled: false}}
server:
  tls: {{cert_file: cert.pem, key_file: key.pem}}
  token: {TOKEN}
"""


def make_certificate(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True)


def secure_request(hark, method, path, body=None, headers=None, port="http"):
    context = ssl.create_default_context(cafile=str(hark.folder / "cert.pem"))
    connection = http.client.HTTPSConnection(
        "127.0.0.1", hark.ports[port], timeout=60, context=context)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_tls_and_token():
    hark = Hark(SECURE, flags=["--http", "0.0.0.0:0"])
    make_certificate(hark.folder)
    with hark:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            for method, path in (("GET", "/api/v1/query?query=1"), ("GET", "/metrics"),
                                 ("POST", "/api/v1/write")):
                status, body = secure_request(hark, method, path, headers=headers)
                assert status == 401 and TOKEN.encode() not in body, (path, headers, status, body)
        assert secure_request(hark, "GET", "/-/healthy")[0] == 200
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        body = snappy(write_request([({"__name__": "guarded"}, [(4.0, now_ms())])]))
        status, text = secure_request(hark, "POST", "/api/v1/write", body, {**WRITE_HEADERS, **bearer})
        assert status == 204, (status, text)
        status, text = secure_request(hark, "GET", "/api/v1/query?query=guarded", headers=bearer)
        assert status == 200 and json.loads(text)["data"]["result"][0]["value"][1] == "4", text
        # OTLP has the same guard.
        status, _ = secure_request(hark, "POST", "/v1/metrics", b"{}",
                                   {"Content-Type": "application/json"}, "otlp_http")
        assert status == 401, status
        status, text = secure_request(hark, "POST", "/v1/metrics", b"{}",
                                      {"Content-Type": "application/json", **bearer}, "otlp_http")
        assert status == 200, (status, text)
        # Plain HTTP on the same port gets no answer of the API.
        try:
            status = hark.request("GET", "/metrics")[0]
            assert status == 400, status
        except (OSError, http.client.HTTPException):
            pass
        # The command line with the token and the certificate.
        (hark.folder / "token").write_text(TOKEN + "\n")
        server = f"https://127.0.0.1:{hark.ports['http']}"
        import harness
        run = subprocess.run(
            [str(harness.BINARY), "query", "guarded", "--server", server, "--token-file",
             str(hark.folder / "token"), "--ca", str(hark.folder / "cert.pem"), "--output", "csv"],
            capture_output=True, text=True, timeout=30)
        assert run.returncode == 0 and "guarded" in run.stdout, (run.stdout, run.stderr)
        assert TOKEN not in hark.output(), hark.output()


def refused(config, flags, texts, prepare=None):
    hark = Hark(config, flags=flags)
    if prepare:
        prepare(hark.folder)
    try:
        hark.start(wait=False)
        assert hark.process.wait(20) == 1, hark.output()
        for text in texts:
            assert text in hark.output(), (text, hark.output())
        assert TOKEN not in hark.output(), hark.output()
    finally:
        hark.__exit__(None, None, None)


def test_open_addresses_are_refused():
    plain = "host_metrics: {enabled: false}\n"
    away = ["--http", "0.0.0.0:0"]
    refused(plain, away, ["0.0.0.0", "server.tls", "server.token", "server.insecure"])
    refused(plain, ["--otlp-grpc", "0.0.0.0:0"], ["server.tls"])
    refused(plain, ["--otlp-http", "0.0.0.0:0"], ["server.tls"])
    refused(plain + f"server: {{token: {TOKEN}}}\n", away, ["server.tls"])
    refused(plain + "server: {tls: {cert_file: cert.pem, key_file: key.pem}}\n", away,
            ["server.token"], make_certificate)
    with Hark(plain + "server: {insecure: true}\n", flags=away) as hark:
        assert hark.request("GET", "/-/ready")[0] == 200


def test_host_and_origin():
    config = """
host_metrics: {enabled: false}
server:
  allowed_hosts: [metrics.example]
  allowed_origins: ['https://board.example']
"""
    with Hark(config) as hark:
        port = hark.ports["http"]
        for host, wanted in (("127.0.0.1", 200), (f"localhost:{port}", 200), ("[::1]", 200),
                             ("metrics.example", 200), (f"metrics.example:{port}", 200),
                             ("evil.example", 421), ("127.0.0.1.evil.example", 421),
                             ("localhost.evil.example", 421), ("metrics.example.evil", 421)):
            status, _, body = hark.request("GET", "/api/v1/query?query=1", None, {"Host": host})
            assert status == wanted, (host, status, body)
        own = f"http://127.0.0.1:{port}"
        for origin, wanted in ((own, 200), ("https://board.example", 200), ("null", 403),
                               ("http://evil.example", 403), (own + ".evil.example", 403),
                               (f"https://127.0.0.1:{port}", 403), ("http://127.0.0.1:1", 403)):
            status, _, body = hark.request(
                "POST", "/api/v1/query", "query=1",
                {"Origin": origin, "Content-Type": "application/x-www-form-urlencoded"})
            assert status == wanted, (origin, status, body)
        body = snappy(write_request([({"__name__": "foreign"}, [(1.0, now_ms())])]))
        status, _, _ = hark.request("POST", "/api/v1/write", body,
                                    {**WRITE_HEADERS, "Origin": "http://evil.example"})
        assert status == 403
        status, _, _ = hark.request("PUT", "/metrics/job/foreign", b"foreign 1\n",
                                    {"Origin": "http://evil.example"})
        assert status == 403
        assert not hark.query("foreign")
        assert hark.check_ledger().get("remote_write", {"received": 0})["received"] == 0


def test_secrets_are_not_shown():
    secrets = ("pass-4711", "bearer-4712", "hook-4713", "token-4714")
    config = f"""
host_metrics: {{enabled: false}}
scrape_configs:
- job_name: basic
  scrape_interval: 100ms
  basic_auth: {{username: me, password: {secrets[0]}}}
  static_configs: [{{targets: ['127.0.0.1:1']}}]
- job_name: bearer
  scrape_interval: 100ms
  authorization: {{credentials: {secrets[1]}}}
  static_configs: [{{targets: ['127.0.0.1:1']}}]
alertmanager:
  route: {{receiver: ops}}
  receivers:
  - name: ops
    webhook_configs: [{{url: 'http://127.0.0.1:1/{secrets[2]}'}}]
server: {{token: {secrets[3]}}}
"""
    with Hark(config) as hark:
        bearer = {"Authorization": f"Bearer {secrets[3]}"}

        def scraped():
            shown = json.loads(hark.request("GET", "/api/v1/targets", None, bearer)[2])
            return all(t["health"] == "down" for t in shown["data"]["activeTargets"])

        wait_for(scraped, "failed scrapes")
        for path in ("/api/v1/status/config", "/api/v1/targets", "/api/v1/rules", "/metrics"):
            body = hark.request("GET", path, None, bearer)[2].decode()
            assert not any(secret in body for secret in secrets), (path, body)
        hark.stop()
        assert not any(secret in hark.output() for secret in secrets), hark.output()
        hark.start()
