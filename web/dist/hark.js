"use strict";
const $ = (id) => document.getElementById(id);
const figures = [
  ["load, 1 min", "node_load1", (v) => v.toFixed(2)],
  ["processor busy", '1 - avg(rate(node_cpu_seconds_total{mode="idle",job="hark-host"}[30s]))', percent],
  ["memory available", 'node_memory_MemAvailable_bytes{job="hark-host"}', bytes],
  ["disk free, /", 'node_filesystem_avail_bytes{mountpoint="/",job="hark-host"}', bytes],
  ["network in", 'sum(rate(node_network_receive_bytes_total{device!="lo",job="hark-host"}[30s]))', (v) => bytes(v) + "/s"],
  ["series", "count({__name__!=\"\"})", (v) => v.toLocaleString("en")],
];

function percent(v) { return (100 * v).toFixed(1) + " %"; }
function bytes(v) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (v >= 1024 && i < units.length - 1) { v /= 1024; i++; }
  return v.toFixed(v < 10 && i > 0 ? 2 : 0) + " " + units[i];
}
function duration(ns) {
  if (ns < 1e3) return ns + " ns";
  if (ns < 1e6) return (ns / 1e3).toFixed(1) + " µs";
  if (ns < 1e9) return (ns / 1e6).toFixed(2) + " ms";
  return (ns / 1e9).toFixed(2) + " s";
}
async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(path + ": " + answer.status);
  return answer.json();
}
function row(cells) {
  const tr = document.createElement("tr");
  for (const cell of cells) {
    const td = document.createElement("td");
    if (cell instanceof Node) td.append(cell); else td.textContent = cell;
    tr.append(td);
  }
  return tr;
}
function fill(id, rows, empty) {
  $(id).replaceChildren(...(rows.length ? rows : [row([empty])]));
}
function code(text) {
  const element = document.createElement("code");
  element.textContent = text;
  return element;
}

async function showFigures() {
  const items = await Promise.all(figures.map(async ([name, query, format]) => {
    try {
      const data = (await get("api/v1/query?query=" + encodeURIComponent(query))).data;
      const value = data.result.length ? format(Number(data.result[0].value[1])) : "no data";
      return [name, value];
    } catch (error) { return [name, "no answer"]; }
  }));
  $("figures").replaceChildren(...items.map(([name, value]) => {
    const group = document.createElement("div");
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    group.append(dt, dd);
    return group;
  }));
}
async function showAlerts() {
  const alerts = (await get("api/v1/alerts")).data.alerts;
  const firing = alerts.filter((alert) => alert.state === "firing");
  fill("alerts", alerts.map((alert) => {
    const state = document.createElement("span");
    state.textContent = alert.state;
    state.className = alert.state;
    const labels = Object.entries(alert.labels).filter(([k]) => k !== "alertname").map(([k, v]) => `${k}=${v}`).join(" ");
    return row([`${alert.labels.alertname} ${labels}`, state, alert.value, alert.activeAt]);
  }), "No alert is pending or firing.");
  $("sentence").textContent = firing.length
    ? `${firing.length} alert${firing.length > 1 ? "s are" : " is"} firing: ${firing[0].labels.alertname}`
    : "All is well: no alert is firing.";
}
async function showLedger() {
  const accounts = (await get("api/hark/v1/ledger")).accounts;
  fill("ledger", accounts.map((a) => row([a.receiver, a.received.toLocaleString("en"), a.stored.toLocaleString("en"),
    Object.entries(a.dropped).map(([k, v]) => `${v} ${k}`).join(", ") || "0", a.in_flight])), "Nothing received yet.");
}
async function showLag() {
  const hops = (await get("api/hark/v1/lag")).hops;
  fill("lag", hops.map((hop) => row([hop.hop, hop.count.toLocaleString("en"),
    hop.count ? duration(hop.p50_ns) : "–", hop.count ? duration(hop.p99_ns) : "–"])), "");
}
function showReceivers() {
  const base = location.origin;
  const lines = [
    ["Prometheus", `remote_write: [{url: ${base}/api/v1/write}]`],
    ["OpenTelemetry, gRPC", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc"],
    ["OpenTelemetry, HTTP", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"],
    ["Influx", `curl -X POST '${base}/api/v2/write' --data-raw 'cpu,host=a value=0.5'`],
    ["Pushgateway", `echo 'my_metric 1' | curl --data-binary @- ${base}/metrics/job/my_job`],
    ["Grafana", `data source Prometheus, URL ${base}`],
  ];
  fill("receivers", lines.map(([name, text]) => {
    const button = document.createElement("button");
    button.textContent = "copy";
    button.setAttribute("aria-label", "copy the line for " + name);
    button.addEventListener("click", () => navigator.clipboard.writeText(text));
    return row([name, code(text), button]);
  }), "");
}
async function turn() {
  try { await Promise.all([showFigures(), showAlerts(), showLedger(), showLag()]); }
  catch (error) { $("sentence").textContent = "hark does not answer: " + error.message; }
  setTimeout(turn, 1000);
}
showReceivers();
turn();
