/* Files of the page, compiled into the binary (generated from web/dist by tools/embed.py). */
#ifndef HK_API_PAGE_H
#define HK_API_PAGE_H

#include "net/http.h"

struct hk_page_file {
    const char *path, *type;
    const unsigned char *data;
    size_t bytes;
};

extern const struct hk_page_file hk_page_files[];
extern const unsigned hk_page_file_count;

/* Answers with the page's file of that path; false when there is none. On the loop. */
bool hk_page_respond(struct hk_http_exchange *exchange);

#endif
