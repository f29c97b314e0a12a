// node send.js grpc|proto|json URL: the instruments of test_otlp.py, sent once by OpenTelemetry's
// JavaScript SDK. Exits 1 with the error when the exporter reports one.
'use strict';
const { MeterProvider, PeriodicExportingMetricReader, AggregationType } = require('@opentelemetry/sdk-metrics');
const { resourceFromAttributes } = require('@opentelemetry/resources');

const PACKAGES = {
  grpc: '@opentelemetry/exporter-metrics-otlp-grpc',
  proto: '@opentelemetry/exporter-metrics-otlp-proto',
  json: '@opentelemetry/exporter-metrics-otlp-http',
};

function record(meter) {
  const counter = meter.createCounter('orders', { unit: '1' });
  const updown = meter.createUpDownCounter('carts');
  const gauge = meter.createGauge('queue.depth');
  const histogram = meter.createHistogram('latency', { unit: 's' });
  const exponential = meter.createHistogram('exp', { unit: 's' });
  for (let step = 0; step < 10; step++) {
    counter.add(2, { kind: 'book' });
    updown.add(step % 3 ? 1 : -1);
    gauge.record(step);
    histogram.record(0.05 * step);
    exponential.record(0.05 * step);
  }
}

async function main(protocol, url) {
  const { OTLPMetricExporter } = require(PACKAGES[protocol]);
  const exporter = new OTLPMetricExporter({ url });
  const failures = [];
  const send = exporter.export.bind(exporter);
  exporter.export = (metrics, done) => send(metrics, (result) => {
    if (result.code !== 0) failures.push(result.error || new Error('export failed'));
    done(result);
  });
  const provider = new MeterProvider({
    readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3600000 })],
    resource: resourceFromAttributes({
      'service.name': 'shop', 'service.instance.id': 'i1', tier: 'gold',
    }),
    views: [{
      instrumentName: 'exp',
      aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM, options: { recordMinMax: true } },
    }],
  });
  record(provider.getMeter('example-meter'));
  await provider.forceFlush();
  await provider.shutdown();
  if (failures.length > 0) throw failures[0];
}

main(process.argv[2], process.argv[3]).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
