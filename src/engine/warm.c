/* The warm path of notifications: respond's transport over net's client on the shard's loop. */
#include "engine/engine_internal.h"

#include "base/mem.h"
#include "net/client.h"
#include "os/clock.h"

struct post {
    void (*done)(void *ctx, const struct hk_post_result *result);
    void *ctx;
};

static hk_err warm_open(void *self, const struct hk_endpoint_config *config, void **out_endpoint) {
    struct hk_shard *shard = self;
    struct hk_client_options options = {
        .url = config->url,
        .authorization = config->authorization,
        .ca_file = config->ca_file,
        .insecure_skip_verify = config->insecure_skip_verify,
        .timeout_ns = config->timeout_ms * 1000000,
    };
    struct hk_client *client = NULL;
    HK_TRY(hk_client_create(shard->loop, &options, &client));
    *out_endpoint = client;
    return HK_OK;
}

static void warm_close(void *self, void *endpoint) {
    (void)self;
    hk_client_destroy(endpoint);
}

static void posted(void *self, const struct hk_client_result *result) {
    struct post *post = self;
    struct hk_post_result out = {
        .err = result->err,
        .status = result->status,
        .text = result->body,
        .written_ns = result->written_ns,
    };
    post->done(post->ctx, &out);
    hk_mem_free(post);
}

/* Writes in the turn of the verdict, before the outbox and the disk are asked. */
static hk_err warm_post(
    void *self, void *endpoint, struct hk_str content_type, struct hk_str body,
    const struct hk_str *headers, uint32_t header_count,
    void (*done)(void *ctx, const struct hk_post_result *result), void *ctx) {
    struct hk_shard *shard = self;
    if (!hk_client_is_warm(endpoint)) return HK_E_BUSY;
    struct post *post = hk_mem_alloc(1, sizeof(*post));
    if (post == NULL) return HK_E_NOMEM;
    *post = (struct post){ done, ctx };
    hk_err err = hk_client_post(endpoint, content_type, body, headers, header_count, posted, post);
    if (err < 0)
        hk_mem_free(post);
    else
        hk_lag_add(&shard->engine->lag, HK_HOP_ACTED, hk_clock_monotonic_ns() - shard->readable_ns);
    return err;
}

struct hk_transport hk_warm_transport(struct hk_shard *shard) {
    return (struct hk_transport){
        .self = shard,
        .open = warm_open,
        .close = warm_close,
        .post = warm_post,
    };
}
