/* Headers and parameters of a request. */
#include "net/http_internal.h"

struct hk_str hk_http_header_get(const struct hk_http_request *request, struct hk_str name) {
    for (uint32_t i = 0; i < request->header_count; i++) {
        if (hk_str_eq(request->headers[i].name, name)) return request->headers[i].value;
    }
    return HK_STR("");
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The next decoded byte of a form value: '+' is a space, a broken escape stands for itself. */
static char form_byte(struct hk_str text, size_t *at) {
    char c = text.ptr[(*at)++];
    if (c == '+') return ' ';
    if (c != '%' || *at + 1 >= text.len) return c;
    int high = hex_value(text.ptr[*at]);
    int low = hex_value(text.ptr[*at + 1]);
    if (high < 0 || low < 0) return c;
    *at += 2;
    return (char)(high * 16 + low);
}

static bool name_is(struct hk_str encoded, struct hk_str name) {
    size_t at = 0;
    size_t i = 0;
    while (at < encoded.len && i < name.len) {
        if (form_byte(encoded, &at) != name.ptr[i++]) return false;
    }
    return at == encoded.len && i == name.len;
}

/* Finds the n-th pair called `name`; *n is lowered by the pairs passed. */
static bool find_pair(struct hk_str form, struct hk_str name, uint32_t *n, struct hk_str *out) {
    size_t at = 0;
    while (at < form.len) {
        size_t end = hk_str_find(form, '&', at);
        struct hk_str pair = hk_str_part(form, at, end);
        size_t equals = hk_str_find(pair, '=', 0);
        if (pair.len > 0 && name_is(hk_str_part(pair, 0, equals), name)) {
            if (*n == 0) {
                *out = hk_str_part(pair, equals + 1, pair.len);
                return true;
            }
            --*n;
        }
        at = end + 1;
    }
    return false;
}

static bool is_form(const struct hk_http_request *request) {
    if (request->body.len == 0) return false;
    struct hk_str type = hk_http_header_get(request, HK_STR("content-type"));
    type = hk_str_trim(hk_str_part(type, 0, hk_str_find(type, ';', 0)));
    return hk_str_eq_nocase(type, HK_STR("application/x-www-form-urlencoded"));
}

bool hk_http_param(
    const struct hk_http_request *request, struct hk_str name, uint32_t n, struct hk_arena *arena,
    struct hk_str *out) {
    struct hk_str raw = { 0 };
    bool found = is_form(request) && find_pair(request->body, name, &n, &raw);
    if (!found && !find_pair(request->query, name, &n, &raw)) return false;
    char *text = hk_arena_alloc_raw(arena, raw.len + 1, 1);
    if (text == NULL) return false;
    size_t len = 0;
    size_t at = 0;
    while (at < raw.len) {
        text[len++] = form_byte(raw, &at);
    }
    text[len] = 0;
    *out = (struct hk_str){ text, len };
    return true;
}
