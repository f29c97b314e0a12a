/* Serving the page: strict content security, no external request. */
#include "api/page.h"

bool hk_page_respond(struct hk_http_exchange *exchange) {
    const struct hk_http_request *request = hk_http_get_request(exchange);
    bool get = hk_str_is(request->method, "GET") || hk_str_is(request->method, "HEAD");
    for (unsigned i = 0; get && i < hk_page_file_count; i++) {
        const struct hk_page_file *file = &hk_page_files[i];
        if (!hk_str_is(request->path, file->path)) continue;
        hk_http_add_header(
            exchange, HK_STR("Content-Security-Policy"),
            HK_STR("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                   "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"));
        hk_http_add_header(exchange, HK_STR("X-Content-Type-Options"), HK_STR("nosniff"));
        hk_http_add_header(exchange, HK_STR("Referrer-Policy"), HK_STR("no-referrer"));
        hk_http_add_header(exchange, HK_STR("Cache-Control"), HK_STR("no-cache"));
        struct hk_str body = { (const char *)file->data, file->bytes };
        hk_http_respond(exchange, 200, hk_str_from(file->type), body);
        return true;
    }
    return false;
}
