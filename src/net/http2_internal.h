/* Inside of the HTTP/2 half of the server. */
#ifndef HK_NET_HTTP2_INTERNAL_H
#define HK_NET_HTTP2_INTERNAL_H

#include "net/http_internal.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>

struct hk_h2 {
    nghttp2_session *session;
    struct hk_conn *conn;
    struct hk_http_exchange *streams; /* linked by stream_next */
    uint32_t stream_count;
    uint32_t header_count; /* of the header block that is arriving */
    size_t header_bytes;
    int header_status;    /* why it will be refused, 0 = fine */
    struct hk_str target; /* its :path */
    int credit;           /* for frames that cost the peer nothing */
    int64_t credit_at_ns;
};

#endif
