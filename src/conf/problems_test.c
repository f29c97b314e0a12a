/* Goal: the exact text of every kind of problem: where, what, and how to mend it. */
#include "conf/config.h"
#include "hk_test.h"

static const char *test_env(void *self, const char *name) {
    (void)self;
    if (strcmp(name, "EMPTY") == 0) return "";
    if (strcmp(name, "PORT") == 0) return "9104";
    if (strcmp(name, "TOKEN") == 0) return "s3cret";
    if (strcmp(name, "BROKEN") == 0) return "\xff";
    return NULL;
}

static const struct hk_conf_source test_source = { NULL, test_env, false };

static const struct {
    const char *text;
    const char *problems;
} cases[] = {
    { "global:\n"
      "  scrape_intervall: 5s\n",
      "f.yml:2:3: error: unknown key scrape_intervall in global; mend: did you mean "
      "scrape_interval?\n" },
    { "scrape_config:\n"
      "- job_name: a\n",
      "f.yml:1:1: error: unknown key scrape_config in config; mend: did you mean "
      "scrape_configs?\n" },
    { "globl: {}\n"
      "zzz: 1\n",
      "f.yml:1:1: error: unknown key globl in config; mend: did you mean global?\n"
      "f.yml:2:1: error: unknown key zzz in config; mend: hark help config lists the keys "
      "known here\n" },
    { "global: 5\n",
      "f.yml:1:9: error: global must be a mapping, not a single value; mend: write it as "
      "key: value\n" },
    { "global: [a]\n",
      "f.yml:1:9: error: global must be a mapping, not a list; mend: write it as key: value\n" },
    { "scrape_configs: a\n",
      "f.yml:1:17: error: scrape_configs must be a list of mappings, not a single value; "
      "mend: begin each entry with \"- key: value\"\n" },
    { "scrape_configs:\n"
      "- a\n"
      "-\n",
      "f.yml:2:3: error: scrape_config must be a mapping, not a single value; mend: write "
      "it as key: value\n"
      "f.yml:3:2: error: an entry of scrape_configs is empty; mend: fill it in or remove "
      "the dash\n" },
    { "scrape_configs:\n"
      "- static_configs: []\n",
      "f.yml:2:3: error: job_name is missing in scrape_config; mend: add job_name: …\n" },
    { "scrape_configs:\n"
      "- job_name: ''\n",
      "f.yml:2:13: error: job_name is empty; mend: name the job\n" },
    { "scrape_configs:\n"
      "- job_name: a\n"
      "- job_name: b\n"
      "- job_name: a\n",
      "f.yml:4:3: error: two jobs are called \"a\", the first at f.yml:2; mend: give each "
      "job a name of its own\n" },
    { "global:\n"
      "  scrape_interval: 5\n"
      "  scrape_timeout: 0.5s\n"
      "  evaluation_interval: soon\n",
      "f.yml:2:20: error: \"5\" is not a duration; mend: give a unit: 5s, 5ms or 5m\n"
      "f.yml:3:19: error: \"0.5s\" is not a duration; mend: write 500ms, durations have no "
      "fractions\n"
      "f.yml:4:24: error: \"soon\" is not a duration; mend: write it as 100ms, 15s, 5m, "
      "1h30m or 7d, largest unit first\n" },
    { "global: {scrape_interval: 5s, scrape_timeout: 6s}\n",
      "f.yml:1:47: error: scrape_timeout 6s is longer than scrape_interval 5s; mend: lower "
      "scrape_timeout or raise scrape_interval\n" },
    { "scrape_configs:\n"
      "- job_name: a\n"
      "  scrape_interval: 100ms\n"
      "  scrape_timeout: 1s\n",
      "f.yml:4:19: error: scrape_timeout 1s is longer than scrape_interval 100ms; mend: "
      "lower scrape_timeout or raise scrape_interval\n" },
    { "global:\n"
      "  sample_limit: many\n"
      "  label_limit: -1\n"
      "  target_limit: 1_000\n"
      "  body_size_limit: 10XB\n",
      "f.yml:2:17: error: \"many\" is not a whole number; mend: write digits only, as in 10\n"
      "f.yml:3:16: error: label_limit is below 0; mend: choose 0 labels or more\n"
      "f.yml:5:20: error: \"10XB\" is not a size; mend: write it as 512MB, 64MiB or 1GiB\n" },
    { "scrape_configs:\n"
      "- job_name: a\n"
      "  honor_labels: maybe\n"
      "  scheme: htp\n"
      "  params: {a: b}\n"
      "  native_histogram_bucket_limit: 100\n",
      "f.yml:3:17: error: \"maybe\" is not true or false; mend: write true or false\n"
      "f.yml:4:11: error: \"htp\" is not a value of scheme; mend: did you mean http? "
      "Choose http or https\n"
      "f.yml:5:15: error: params must be a mapping of lists, not a single value; mend: put "
      "brackets around it: [value]\n"
      "f.yml:6:3: warning: native_histogram_bucket_limit is not acted on yet: native "
      "histograms keep the resolution that the target sends\n" },
    { "scrape_configs:\n"
      "- job_name: a\n"
      "  scrape_protocols: [PrometheusText0.0.4, prometheustext0.0.4]\n"
      "- job_name: b\n"
      "  scrape_protocols: [OpenMetricsTxt1.0.0]\n",
      "f.yml:3:21: error: scrape_protocols is empty or names a format twice; mend: name "
      "each format once, at least one\n"
      "f.yml:5:22: error: \"OpenMetricsTxt1.0.0\" is not a value of scrape_protocols; "
      "mend: did you mean OpenMetricsText1.0.0? Choose PrometheusProto, "
      "OpenMetricsText0.0.1, OpenMetricsText1.0.0, PrometheusText0.0.4 or "
      "PrometheusText1.0.0\n" },
    { "scrape_configs:\n"
      "- job_name: a\n"
      "  consul_sd_configs: [{server: 'x', tokenn: abc}]\n"
      "  kubernetes_sd_configs: [{role: pod}]\n"
      "  foo_sd_configs: []\n",
      "f.yml:3:3: warning: consul_sd_configs is not acted on yet: job \"a\" shows as "
      "unsupported in /api/v1/targets\n"
      "f.yml:3:37: error: unknown key tokenn in consul_sd_config; mend: did you mean token?\n"
      "f.yml:4:3: warning: kubernetes_sd_configs is not acted on yet: job \"a\" shows as "
      "unsupported in /api/v1/targets\n"
      "f.yml:5:3: error: unknown key foo_sd_configs in scrape_config; mend: did you mean "
      "file_sd_configs?\n" },
    { "scrape_configs:\n"
      "- job_name: a\n"
      "  ec2_sd_configs: [{port: 99999, refresh_interval: x}]\n",
      "f.yml:3:3: warning: ec2_sd_configs is not acted on yet: job \"a\" shows as "
      "unsupported in /api/v1/targets\n"
      "f.yml:3:27: error: port is above 65535; mend: choose 0 to 65535\n"
      "f.yml:3:52: error: \"x\" is not a duration; mend: write it as 100ms, 15s, 5m, 1h30m "
      "or 7d, largest unit first\n" },
    { "alerting:\n"
      "  alertmanagers:\n"
      "  - consul_sd_configs: [{server: x}]\n"
      "    api_version: v3\n",
      "f.yml:3:5: warning: consul_sd_configs is not acted on yet: targets found this way "
      "are missing\n"
      "f.yml:4:18: error: \"v3\" is not a value of api_version; mend: did you mean v2? "
      "Choose v2 or v1\n" },
    { "scrape_configs:\n"
      "- job_name: a\n"
      "  relabel_configs:\n"
      "  - action: replce\n"
      "  - regex: '('\n"
      "    target_label: x\n"
      "  - action: hashmod\n"
      "    target_label: x\n"
      "  - {action: labeldrop, source_labels: [a], regex: x}\n"
      "  - {action: keepequal, target_label: x, regex: x}\n"
      "  - {}\n"
      "  - {target_label: x, replacement: '${1}-$$-${TOKEN}-${NOPE}'}\n",
      "f.yml:4:13: error: \"replce\" is not a value of action; mend: did you mean replace? "
      "Choose replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, "
      "labelkeep, lowercase or uppercase\n"
      "f.yml:5:12: error: regex is not a regular expression: missing ): (; mend: see RE2's "
      "syntax; a backslash needs single quotes in YAML\n"
      "f.yml:7:5: error: action hashmod needs a modulus above 0; mend: add modulus: …\n"
      "f.yml:9:40: error: action labeldrop does not take source_labels; mend: remove it\n"
      "f.yml:10:49: error: action keepequal does not take regex; mend: remove it\n"
      "f.yml:11:5: error: action replace needs target_label; mend: add target_label: …\n" },
    { "scrape_configs:\n"
      "- job_name: a\n"
      "  static_configs:\n"
      "  - targets: ['http://a:1/metrics', '', a:1]\n"
      "  - targets: a:1\n"
      "  - targets: [[a]]\n"
      "    labels: {'': x}\n"
      "  - labels: [a]\n",
      "f.yml:4:15: error: \"http://a:1/metrics\" is not an address; mend: write host:port; "
      "scheme and metrics_path are keys of the job\n"
      "f.yml:4:37: error: a target is empty; mend: write host:port; scheme and "
      "metrics_path are keys of the job\n"
      "f.yml:5:14: error: targets must be a list of strings, not a single value; mend: put "
      "brackets around it: [value]\n"
      "f.yml:6:15: error: an entry of targets must be a single value, not a list; mend: "
      "write one value per entry\n"
      "f.yml:7:14: error: a label name of labels is empty; mend: give the label a name of "
      "letters, digits and underscores\n"
      "f.yml:8:13: error: labels must be a mapping of labels, not a list; mend: write it "
      "as key: value, indented below\n" },
    { "scrape_configs:\n"
      "- job_name: a\n"
      "  basic_auth: {username: a, username_file: b, password: x}\n"
      "  bearer_token: x\n"
      "  authorization: {type: Basic}\n"
      "  tls_config: {cert_file: a, min_version: TLS13, max_version: TLS12}\n"
      "  no_proxy: x\n"
      "  oauth2: {client_id: a}\n",
      "f.yml:3:44: error: username and username_file exclude each other; mend: keep one of "
      "the two\n"
      "f.yml:4:17: error: basic_auth and bearer_token exclude each other; mend: keep one "
      "way to log in\n"
      "f.yml:5:18: error: basic_auth and authorization exclude each other; mend: keep one "
      "way to log in\n"
      "f.yml:5:25: error: authorization cannot be of type \"Basic\"; mend: use basic_auth "
      "with username and password\n"
      "f.yml:6:27: error: a client certificate needs cert_file and key_file; mend: give "
      "both or none\n"
      "f.yml:6:43: error: min_version is above max_version; mend: swap the two\n"
      "f.yml:7:13: error: no_proxy means nothing without proxy_url; mend: add proxy_url or "
      "remove no_proxy\n"
      "f.yml:8:3: warning: oauth2 is not acted on yet: requests are sent without a token\n"
      "f.yml:8:11: error: basic_auth and oauth2 exclude each other; mend: keep one way to "
      "log in\n" },
    { "scrape_configs:\n"
      "- job_name: a\n"
      "  file_sd_configs: [{files: [a.txt]}, {}]\n"
      "  dns_sd_configs: [{names: [], type: A}, {names: [a], type: TXT}]\n"
      "  http_sd_configs: [{url: 'ftp://x'}]\n",
      "f.yml:3:29: error: \"a.txt\" names no file with targets; mend: let the pattern end "
      "in .json, .yml or .yaml\n"
      "f.yml:3:39: error: files is missing in file_sd_config; mend: add files: …\n"
      "f.yml:4:20: error: only SRV records have a port; this type needs the key port; "
      "mend: add port: …\n"
      "f.yml:4:28: error: names is empty; mend: add a name\n"
      "f.yml:4:61: error: \"TXT\" is not a value of type; mend: choose SRV, A, AAAA, MX or "
      "NS\n"
      "f.yml:5:27: error: \"ftp://x\" is not an http or https URL; mend: write it as "
      "http://host:port/path\n" },
    { "rule_files: rules.yml\n",
      "f.yml:1:13: error: rule_files must be a list of paths, not a single value; mend: "
      "put brackets around it: [value]\n" },
    { "rule_files: ['']\n",
      "f.yml:1:13: error: an entry of rule_files is empty or too long; mend: give paths of "
      "less than 4096 bytes\n" },
    { "runtime: {gogc: 50}\n"
      "remote_write: [{url: 'http://a/'}, {url: x}, {name: a}]\n"
      "remote_read: [{url: 'http://a/', foo: 1}]\n",
      "f.yml:1:1: warning: runtime is not acted on yet: hark has no garbage collector\n"
      "f.yml:2:1: warning: remote_write is not acted on yet: samples are not forwarded\n"
      "f.yml:2:42: error: \"x\" is not an http or https URL; mend: write it as "
      "http://host:port/path\n"
      "f.yml:2:46: error: url is missing in remote_write; mend: add url: …\n"
      "f.yml:3:1: warning: remote_read is not acted on yet: queries read hark's own data "
      "only\n"
      "f.yml:3:34: error: unknown key foo in remote_read; mend: hark help config "
      "remote_read lists the keys known here\n" },
    { "remote_write:\n"
      "- {url: 'http://a/', name: a}\n"
      "- {url: 'http://b/', name: a}\n",
      "f.yml:1:1: warning: remote_write is not acted on yet: samples are not forwarded\n"
      "f.yml:2:1: error: two remote_write are called \"a\"; mend: give each a name of its "
      "own\n" },
    { "otlp: {ignore_resource_attributes: [a], translation_strategy: NoTranslate}\n",
      "f.yml:1:36: error: ignore_resource_attributes means nothing when not all attributes "
      "are promoted; mend: set promote_all_resource_attributes: true, or remove it\n"
      "f.yml:1:63: error: \"NoTranslate\" is not a value of translation_strategy; mend: "
      "did you mean NoTranslation? Choose UnderscoreEscapingWithSuffixes, "
      "NoUTF8EscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes or NoTranslation\n" },
    { "otlp: {promote_all_resource_attributes: true, promote_resource_attributes: [a]}\n",
      "f.yml:1:76: error: promote_all_resource_attributes and promote_resource_attributes "
      "exclude each other; mend: keep one of the two\n" },
    { "server: {http: '0.0.0.0:9090', otlp_grpc: 'localhost:4317', otlp_http: '9090'}\n",
      "f.yml:1:16: error: http listens off loopback without TLS and token; mend: add tls "
      "and token (or tls.client_ca_file), or say insecure: true\n"
      "f.yml:1:72: error: \"9090\" is not an address to listen on; mend: write host:port, "
      "as 127.0.0.1:9090 or [::1]:9090\n" },
    { "server: {http: '0.0.0.0:9090', insecure: true, token: a, token_file: b, "
      "allowed_origins: [example.org]}\n",
      "f.yml:1:70: error: token and token_file exclude each other; mend: keep one of the "
      "two\n"
      "f.yml:1:90: error: \"example.org\" is not an origin; mend: write it as "
      "https://host:port\n" },
    { "server:\n"
      "  http: ':9090'\n"
      "  token: x\n"
      "  tls: {cert_file: a, min_version: TLS11}\n",
      "f.yml:4:8: error: key_file is missing in server_tls; mend: add key_file: …\n"
      "f.yml:4:36: error: min_version is below TLS12, which is not safe; mend: choose "
      "TLS12 or TLS13\n" },
    { "server:\n"
      "  http: '[::]:70000'\n"
      "  otlp_grpc: '[::1]:4317'\n"
      "  otlp_http: \"a b:1\"\n",
      "f.yml:2:9: error: \"[::]:70000\" is not an address to listen on; mend: write "
      "host:port, as 127.0.0.1:9090 or [::1]:9090\n"
      "f.yml:4:14: error: \"a b:1\" is not an address to listen on; mend: write host:port, "
      "as 127.0.0.1:9090 or [::1]:9090\n" },
    { "server: {otlp_legacy: '55681'}\n",
      "f.yml:1:23: error: \"55681\" is not an address to listen on; mend: write host:port, "
      "as 127.0.0.1:9090 or [::1]:9090\n" },
    { "statsd: {}\n", "f.yml:1:9: error: statsd has neither listen nor socket; mend: add listen: "
                      "127.0.0.1:8125 or socket: /path\n" },
    { "statsd: {listen: '0.0.0.0:8125'}\n",
      "f.yml:1:18: error: StatsD has no TLS and no token, and listen is off loopback; "
      "mend: listen on loopback, or say server: {insecure: true}\n" },
    { "shards: 1000\n"
      "memory: lots\n"
      "spin: sometimes\n"
      "limits: {labels: 0, request_bytes: 1KiB, header_timeout: 1ms, queries: 2000}\n",
      "f.yml:1:9: error: shards is above 256; mend: choose 0 to 256 shards\n"
      "f.yml:2:9: error: \"lots\" is not a size; mend: write it as 512MB, 64MiB or 1GiB\n"
      "f.yml:3:7: error: \"sometimes\" is not a value of spin; mend: choose off, adaptive "
      "or always\n"
      "f.yml:4:18: error: labels is below 1; mend: choose 1 to 256 labels\n"
      "f.yml:4:36: error: request_bytes is below 64KiB; mend: choose 64KiB to 1GiB\n"
      "f.yml:4:58: error: header_timeout is below 10ms; mend: choose 10ms to 1h\n"
      "f.yml:4:72: error: queries is above 1000; mend: choose 1 to 1000 queries\n" },
    { "alertmanager: {route: {receiver: opps, match: {a: b}}, receivers: [{name: ops}, "
      "{name: ops}]}\n",
      "f.yml:1:34: error: no receiver is called \"opps\"; mend: did you mean ops?\n"
      "f.yml:1:47: error: the outermost route takes every alert and cannot have match; "
      "mend: move it to an inner route\n"
      "f.yml:1:67: error: two receivers are called \"ops\"; mend: give each receiver a "
      "name of its own\n" },
    { "alertmanager: {receivers: [{name: a, slack_configs: [{channel: x}], "
      "pagerduty_config: []}]}\n",
      "f.yml:1:15: error: route is missing in alertmanager; mend: add route: …\n"
      "f.yml:1:38: warning: slack_configs is not acted on yet: alerts for this receiver do "
      "not go this way\n"
      "f.yml:1:69: error: unknown key pagerduty_config in receiver; mend: did you mean "
      "pagerduty_configs?\n" },
    { "alertmanager:\n"
      "  route: {receiver: a, group_by: [a, '...'], group_wat: 5s}\n"
      "  receivers:\n"
      "  - name: a\n"
      "    webhook_configs: [{url: 'secret-thing'}, {}, {url: 'http://a', url_file: b}]\n"
      "    exec_configs: [{command: [rollback]}, {command: []}, {command: rm -rf}, "
      "{command: [/a], timeout: 0s}]\n",
      "f.yml:2:34: error: '...' stands for all labels, and other labels stand beside it; "
      "mend: write only '...' or only labels\n"
      "f.yml:2:46: error: unknown key group_wat in route; mend: did you mean group_wait?\n"
      "f.yml:5:29: error: url is not an http or https URL; mend: write it as "
      "http://host:port/path\n"
      "f.yml:5:46: error: url is missing in webhook_config; mend: add url: http://…\n"
      "f.yml:5:78: error: url and url_file exclude each other; mend: keep one of the two\n"
      "f.yml:6:30: error: \"rollback\" is not an absolute path; mend: give the absolute "
      "path; no shell looks it up\n"
      "f.yml:6:53: error: command is empty; mend: write [/path/to/program, argument]\n"
      "f.yml:6:68: error: command must be a list of strings, not a single value; mend: put "
      "brackets around it: [value]\n"
      "f.yml:6:102: error: timeout is below 1ms; mend: choose 1ms to 1d\n" },
    { "alertmanager:\n"
      "  route:\n"
      "    receiver: a\n"
      "    routes: [{receiver: b, match_re: {a: '('}}]\n"
      "  receivers: [{name: a}]\n"
      "  inhibit_rules: []\n"
      "  mute_time_intervals: []\n",
      "f.yml:4:5: warning: routes is not acted on yet: every alert takes the outermost "
      "route\n"
      "f.yml:4:25: error: no receiver is called \"b\"; mend: add a receiver of that name "
      "under receivers\n"
      "f.yml:4:38: error: match_re is not a regular expression: missing ): (; mend: see "
      "RE2's syntax; a backslash needs single quotes in YAML\n"
      "f.yml:6:3: warning: inhibit_rules is not acted on yet: no alert silences another\n"
      "f.yml:7:3: warning: mute_time_intervals is not acted on yet: notifications are sent "
      "at all times\n" },
    { "alertmanager_file: x\n"
      "alertmanager: {route: {receiver: a}, receivers: [{name: a}]}\n",
      "f.yml:1:20: error: alertmanager and alertmanager_file exclude each other; mend: "
      "keep one of the two\n" },
    { "alertmanager_file: /nonexistent/alertmanager.yml\n",
      "/nonexistent/alertmanager.yml: error: no such file; mend: check the path and who "
      "may read it; files have at most 16 MiB\n" },
    { "server: {token: '${NOPE}'}\n"
      "data_dir: ${NOPE:-/data}\n"
      "scrape_configs:\n"
      "- job_name: '${EMPTY:-a}$${x}$y'\n"
      "  static_configs: [{targets: ['a:${PORT}']}]\n"
      "  scrape_interval: ${TOKEN}\n"
      "  metrics_path: ${file:/nonexistent/file}\n"
      "  params: {x: ['${BROKEN}']}\n",
      "f.yml:1:17: error: the environment variable NOPE is not set; mend: set it, or give "
      "a default with ${NAME:-default}, or write $${NAME} for the text itself\n"
      "f.yml:6:20: error: what the substitution gives is not a valid value of "
      "scrape_interval; mend: write it as 100ms, 15s, 5m, 1h30m or 7d, largest unit first\n"
      "f.yml:7:17: error: ${file:/nonexistent/file}: no such file; mend: give the path of "
      "a readable file of at most 64 KiB\n"
      "f.yml:8:16: error: after substitution the value is not valid UTF-8; mend: check "
      "what the variable or file holds\n" },
    { "global:\n"
      "  external_labels: {a: '$NOPE', b: '${NOPE}x', c: '$1', d: '${NOPE:-e}'}\n",
      "f.yml:2:24: warning: the environment variable NOPE is not set; it is empty in this "
      "label; mend: set it, or write $$ for a dollar sign\n"
      "f.yml:2:36: warning: the environment variable NOPE is not set; it is empty in this "
      "label; mend: set it, or write $$ for a dollar sign\n" },
    { "global: {scrape_interval: 5s\n",
      "f.yml:2:1: error: not valid YAML: did not find expected ',' or '}' while parsing a "
      "flow mapping; mend: check the indentation of this line and the quotes and colons "
      "before it\n" },
    { "global:\n"
      "\tscrape_interval: 5s\n",
      "f.yml:2:1: error: not valid YAML: found character that cannot start any token while "
      "scanning for the next token; mend: indent with spaces, YAML does not allow tabs\n" },
    { "global:\n"
      "  scrape_interval: 5s\n"
      " evaluation_interval: 5s\n",
      "f.yml:3:2: error: not valid YAML: did not find expected key while parsing a block "
      "mapping; mend: check the indentation of this line and the quotes and colons before "
      "it\n" },
    { "a: b: c\n",
      "f.yml:1:5: error: not valid YAML: mapping values are not allowed in this context; "
      "mend: check the indentation of this line and the quotes and colons before it\n" },
    { "global: {}\n"
      "global: {}\n",
      "f.yml:2:1: error: the key \"global\" is given twice, first on line 1; mend: keep "
      "one of the two\n" },
    { "global: *nope\n",
      "f.yml:1:9: error: this alias has no anchor; mend: define it with & above this line, "
      "or quote the *\n" },
    { "global: &a [*a]\n",
      "f.yml:1:13: error: this alias stands inside of its own anchor; mend: move the "
      "anchor out of what it names\n" },
    { "--- {}\n"
      "--- {}\n",
      "f.yml:2:1: error: a second YAML document begins here; mend: keep one document per "
      "file\n" },
    { "? [a]\n"
      ": b\n",
      "f.yml:1:3: error: a key must be a word, not a list; mend: write a plain word as the "
      "key\n" },
    { "<<: [a]\n",
      "f.yml:1:6: error: << takes a mapping or a list of mappings, not a single value; "
      "mend: give the alias of a mapping\n" },
    { "- a\n",
      "f.yml:1:1: error: config must be a mapping, not a list; mend: write it as key: value\n" },
    { "just text\n",
      "f.yml:1:1: error: config must be a mapping, not a single value; mend: write it as "
      "key: value\n" },
    { "global: {external_labels: {a: [b]}}\n",
      "f.yml:1:31: error: an entry of external_labels must be a single value, not a list; "
      "mend: write one value per entry\n" },
    { "server: {token: [a]}\n",
      "f.yml:1:17: error: token must be a secret, not a list; mend: write one value behind "
      "the colon\n" },
    { "global: {metric_name_validation_scheme: legacy, query_log_file: a}\n"
      "storage: {tsdb: {out_of_order_time_window: 5m}}\n",
      "f.yml:1:10: warning: metric_name_validation_scheme is not acted on yet: names are "
      "taken as the target sends them, all of UTF-8\n"
      "f.yml:1:49: warning: query_log_file is not acted on yet: queries are not logged to "
      "a file\n"
      "f.yml:2:11: warning: tsdb is not acted on yet: hark takes samples of any age; see "
      "retention and retention_size\n" },
};

TEST(problems) {
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        struct hk_conf_report report;
        struct hk_config *config = NULL;
        struct hk_buf out;
        hk_conf_report_init(&report);
        hk_buf_init(&out, 1 << 20);
        hk_err err = hk_config_parse(
            HK_STR("f.yml"), hk_str_from(cases[i].text), &test_source, &report, &config);
        hk_conf_report_print(&report, &out);
        CHECK_STR(hk_buf_get(&out), hk_str_from(cases[i].problems));
        CHECK_INT(err, report.error_count > 0 ? HK_E_INVALID : HK_OK);
        CHECK((config != NULL) == (err == HK_OK));
        hk_config_destroy(config);
        hk_buf_deinit(&out);
        hk_conf_report_deinit(&report);
    }
}

HK_TEST_MAIN()
