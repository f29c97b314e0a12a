/* StatsD over UDP and Unix datagram sockets, on a shard's loop. */
#ifndef HK_ENGINE_DATAGRAMS_H
#define HK_ENGINE_DATAGRAMS_H

#include "ingest/statsd_agg.h"
#include "model/batch.h"
#include "net/loop.h"
#include "os/udp.h"

struct hk_shard;

enum { HK_DATAGRAM_SOCKETS = 2 }; /* UDP, Unix */

struct hk_datagrams {
    struct hk_datagram_socket {
        struct hk_io io;
        struct hk_shard *shard;
        bool open;
    } sockets[HK_DATAGRAM_SOCKETS];
    struct hk_statsd_agg *agg;
    struct hk_context context;
    uint8_t *buffers; /* HK_UDP_DATAGRAMS_MAX × HK_UDP_BYTES_MAX */
    int64_t flush_next_ms;
    uint16_t port; /* of the UDP socket */
};

/* Opens what the configuration says; does nothing without a `statsd` section. */
hk_err hk_datagrams_open(struct hk_shard *shard) HK_MUST_CHECK;
void hk_datagrams_close(struct hk_shard *shard);

/* Flushes timers and sets when their interval is over. */
void hk_datagrams_tick(struct hk_shard *shard, int64_t now_ms);

#endif
