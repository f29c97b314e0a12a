/* StatsD datagrams: received in bulk, parsed in one pass, no answer. */
#include "engine/datagrams.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "ingest/statsd.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>

static hk_err parse_agg(void *state, struct hk_batch *batch) {
    struct hk_datagrams *datagrams = state;
    return hk_statsd_agg_flush(datagrams->agg, batch, &datagrams->context, hk_clock_realtime_ms());
}

static hk_err labels_agg(
    void *state, struct hk_batch *batch, const struct hk_entry *entry, struct hk_label_set *out) {
    (void)state;
    return hk_statsd_parser.labels(NULL, batch, entry, out);
}

static const struct hk_metric_parser parser_agg = {
    .name = "statsd_flush",
    .parse = parse_agg,
    .labels = labels_agg,
};

static void run(struct hk_shard *shard, const struct hk_metric_parser *parser, void *state) {
    struct hk_pass_run run = {
        .receiver = HK_RECEIVER_STATSD,
        .parser = parser,
        .state = state,
        .arena = &shard->arena,
        .cursor = hk_pass_cursor(&shard->pass, HK_STR("statsd")),
    };
    /* Nobody can be told of a refusal: the ledger has it. */
    if (hk_pass_run(&shard->pass, &run) < 0) hk_fail_clear();
}

static void take(struct hk_shard *shard, struct hk_str text, int64_t now_ms) {
    struct hk_datagrams *datagrams = &shard->datagrams;
    struct hk_statsd state;
    hk_statsd_init(&state, text, &datagrams->context, datagrams->agg, now_ms);
    hk_arena_reset(&shard->arena);
    run(shard, &hk_statsd_parser, &state);
    if (state.unsupported == 0) return;
    hk_ledger_received(&shard->ledger, HK_RECEIVER_STATSD, state.unsupported);
    hk_ledger_dropped(&shard->ledger, HK_RECEIVER_STATSD, HK_DROP_UNSUPPORTED, state.unsupported);
}

static void
take_buffer(struct hk_shard *shard, const struct hk_datagram *datagram, int64_t now_ms) {
    size_t step = datagram->segment > 0 ? datagram->segment : datagram->bytes;
    for (size_t at = 0; at < datagram->bytes; at += step) {
        size_t left = datagram->bytes - at;
        struct hk_str text = { (const char *)datagram->data + at, left < step ? left : step };
        take(shard, text, now_ms);
    }
}

static void on_readable(struct hk_io *io, unsigned events) {
    (void)events;
    struct hk_datagram_socket *socket = (struct hk_datagram_socket *)(void *)io;
    struct hk_shard *shard = socket->shard;
    struct hk_datagram received[HK_UDP_DATAGRAMS_MAX];
    for (size_t i = 0; i < HK_UDP_DATAGRAMS_MAX; i++) {
        received[i].data = shard->datagrams.buffers + i * HK_UDP_BYTES_MAX;
    }
    /* One round at a time: the loop comes back while more waits. Without room the kernel's
     * buffer is the queue, and it counts what it drops. */
    if (!hk_store_has_room(shard->pass.shard)) return;
    int got = hk_udp_receive(io->fd, received, HK_UDP_DATAGRAMS_MAX);
    if (got <= 0) return;
    int64_t now_ms = hk_clock_realtime_ms();
    shard->readable_ns = hk_clock_monotonic_ns();
    hk_shard_turn(shard, HK_TURN_DATAGRAM);
    hk_alerts_begin(shard, now_ms);
    for (int i = 0; i < got; i++)
        take_buffer(shard, &received[i], now_ms);
    (void)hk_store_publish(shard->pass.shard);
    hk_alerts_commit(shard, hk_clock_realtime_ms());
}

static hk_err open_socket(
    struct hk_shard *shard, size_t index, const struct hk_sockaddr *address, const char *name) {
    struct hk_datagram_socket *socket = &shard->datagrams.sockets[index];
    int fd = hk_udp_open(address);
    if (fd < 0) {
        return hk_fail(HK_E_IO, "statsd: cannot listen on %s: %s", name, strerror(-fd));
    }
    socket->io.fd = fd;
    socket->io.ready = on_readable;
    socket->shard = shard;
    socket->open = true;
    struct hk_sockaddr local;
    if (index == 0 && hk_socket_local(fd, &local) >= 0) {
        shard->datagrams.port = hk_sockaddr_port(&local);
    }
    return hk_loop_watch(shard->loop, &socket->io, HK_IO_READ);
}

static hk_err open_udp(struct hk_shard *shard, struct hk_str listen) {
    char host[256];
    uint64_t port = 0;
    size_t colon = listen.len;
    while (colon > 0 && listen.ptr[colon - 1] != ':')
        colon--;
    if (colon == 0 || colon > sizeof(host) ||
        hk_parse_u64(hk_str_part(listen, colon, listen.len), &port) < 0 || port > 65535) {
        return hk_fail(HK_E_INVALID, "statsd.listen: \"%.*s\" is no address", HK_STR_ARG(listen));
    }
    struct hk_str name = hk_str_part(listen, 0, colon - 1);
    if (name.len > 1 && name.ptr[0] == '[') name = hk_str_part(name, 1, name.len - 1);
    (void)snprintf(host, sizeof(host), "%.*s", HK_STR_ARG(name));
    struct hk_sockaddr address;
    if (name.len == 0)
        hk_sockaddr_any((uint16_t)port, &address);
    else if (hk_sockaddr_numeric(host, (uint16_t)port, &address) < 0) {
        return hk_fail(
            HK_E_INVALID, "statsd.listen: \"%s\" is no numeric address or localhost", host);
    }
    return open_socket(shard, 0, &address, host);
}

hk_err hk_datagrams_open(struct hk_shard *shard) {
    struct hk_datagrams *datagrams = &shard->datagrams;
    const struct hk_conf_statsd *conf = shard->engine->config->statsd;
    if (conf == NULL) return HK_OK;
    struct hk_statsd_agg_options options = { 0 };
    HK_TRY(hk_statsd_agg_create(&options, &datagrams->agg));
    datagrams->context.hash = hk_hash_mix(shard->engine->identity_base, hk_hash128("statsd", 6));
    datagrams->buffers = hk_mem_alloc(HK_UDP_DATAGRAMS_MAX, HK_UDP_BYTES_MAX);
    if (datagrams->buffers == NULL) return HK_E_NOMEM;
    if (conf->listen.len > 0) HK_TRY(open_udp(shard, conf->listen));
    if (conf->socket.len == 0) return HK_OK;
    struct hk_sockaddr address;
    char path[256];
    (void)snprintf(path, sizeof(path), "%.*s", HK_STR_ARG(conf->socket));
    if (hk_sockaddr_unix(path, &address) < 0) {
        return hk_fail(HK_E_INVALID, "statsd.socket: the path is too long");
    }
    return open_socket(shard, 1, &address, path);
}

void hk_datagrams_close(struct hk_shard *shard) {
    struct hk_datagrams *datagrams = &shard->datagrams;
    for (size_t i = 0; i < HK_DATAGRAM_SOCKETS; i++) {
        if (!datagrams->sockets[i].open) continue;
        hk_loop_unwatch(shard->loop, &datagrams->sockets[i].io);
        hk_socket_close(datagrams->sockets[i].io.fd);
    }
    hk_statsd_agg_destroy(datagrams->agg);
    hk_mem_free(datagrams->buffers);
}

void hk_datagrams_tick(struct hk_shard *shard, int64_t now_ms) {
    struct hk_datagrams *datagrams = &shard->datagrams;
    if (datagrams->agg == NULL || now_ms < datagrams->flush_next_ms) return;
    int64_t flush_ms = shard->engine->config->statsd->flush_ms;
    datagrams->flush_next_ms = now_ms + (flush_ms > 0 ? flush_ms : 10000);
    hk_arena_reset(&shard->arena);
    run(shard, &parser_agg, datagrams);
    (void)hk_store_publish(shard->pass.shard);
}
