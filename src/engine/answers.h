/* How requests of receivers are answered once their commit is durable. */
#ifndef HK_ENGINE_ANSWERS_H
#define HK_ENGINE_ANSWERS_H

#include "net/http.h"

/* How an accepted request is answered once its commit is durable. */
enum hk_answer {
    HK_ANSWER_NO_CONTENT, /* 204 */
    HK_ANSWER_RW2,        /* 204 with the -Written headers */
    HK_ANSWER_OTLP_GRPC,
    HK_ANSWER_OTLP_PROTO,
    HK_ANSWER_OTLP_JSON,
    HK_ANSWER_INFLUX,   /* 204; errors are JSON */
    HK_ANSWER_OK,       /* 200 without a body */
    HK_ANSWER_ACCEPTED, /* 202 without a body */
};

struct hk_waiting {
    struct hk_waiting *next;
    struct hk_http_exchange *exchange;
    uint64_t commit;
    int64_t received_ns; /* monotonic */
    int64_t decided_ns;
    enum hk_answer answer;
    int status; /* when not 0: this error with `text`, after the commit */
    struct hk_str text;
    uint64_t rejected, samples, histograms, exemplars;
};

#endif
