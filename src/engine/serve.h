/* What `hark serve` hands to the engine. */
#ifndef HK_ENGINE_SERVE_H
#define HK_ENGINE_SERVE_H

#include "net/loop.h"

/*
 * Flags of the command line. A flag that was given wins over the configuration file; what was not
 * given is NULL or has its `…_given` false. Strings live as long as the process.
 */
struct hk_serve_options {
    const char *config_path; /* NULL: no file, all defaults */
    const char *data_dir;
    const char *http, *otlp_grpc, *otlp_http; /* addresses; port 0 = any free port */
    const char *otlp_legacy;                  /* likewise; OTLP/HTTP on its old port */
    const char *port_file;                    /* gets the ports as JSON once all listen */
    int64_t retention_ms;                     /* 0 = keep all */
    bool retention_given;
    uint64_t memory_bytes; /* hard cap; 0 = none */
    bool memory_given;
    uint32_t shards; /* 0 = default (half of the processors) */
    bool shards_given;
    enum hk_spin spin;
    bool spin_given;
};

/* Runs the server until SIGTERM or SIGINT; the exit code: 0 drained, 1 failed (said on stderr). */
int hk_engine_serve(const struct hk_serve_options *options);

#endif
