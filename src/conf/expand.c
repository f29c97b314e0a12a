/* Substitution of environment variables and files in values. */
#include "conf/expand.h"

#include "os/env.h"
#include "os/file.h"

#include <errno.h>
#include <string.h>

enum {
    NAME_BYTES_MAX = 128,
    PATH_BYTES_MAX = 4096,
    SUBSTITUTE_BYTES_MAX = 65536, /* of a file or variable put into a value */
};

struct hk_str
hk_conf_join(struct hk_arena *arena, const struct hk_conf_file *file, struct hk_str path) {
    if (path.len == 0 || path.ptr[0] == '/' || file->dir.len == 0) return path;
    return hk_arena_printf(arena, "%.*s%.*s", HK_STR_ARG(file->dir), HK_STR_ARG(path));
}

hk_err hk_conf_read_file(
    const char *path, size_t bytes_max, struct hk_arena *arena, struct hk_str *out,
    const char **why) {
    int fd = hk_file_open(path, HK_FILE_READ);
    *why = fd == -ENOENT    ? "no such file"
           : fd == -EACCES  ? "permission denied"
           : fd == -ENOTDIR ? "a part of the path is not a folder"
                            : "it cannot be opened";
    if (fd < 0) return fd == -ENOENT ? HK_E_NOT_FOUND : HK_E_IO;
    /* Pipes and /proc files have no size: read until the end, at most one byte too many. */
    size_t capacity = 16384;
    size_t bytes = 0;
    char *text = hk_arena_alloc_raw(arena, 1, capacity);
    hk_err err = text == NULL ? HK_E_NOMEM : HK_OK;
    while (err == HK_OK) {
        int64_t got = hk_file_read(fd, text + bytes, capacity - bytes, (int64_t)bytes);
        *why = got == -EISDIR ? "it is a folder" : "it cannot be read";
        if (got < 0) err = HK_E_IO;
        if (got <= 0) break;
        bytes += (size_t)got;
        *why = "it is too large";
        if (bytes > bytes_max) err = HK_E_LIMIT;
        if (bytes < capacity || err < 0) continue;
        char *larger = hk_arena_alloc_raw(arena, 2, capacity);
        if (larger == NULL) err = HK_E_NOMEM;
        if (larger == NULL) break;
        memcpy(larger, text, bytes);
        text = larger;
        capacity *= 2;
    }
    hk_file_close(fd);
    if (err == HK_OK) *out = (struct hk_str){ text, bytes };
    return err;
}

static bool is_name(struct hk_str text) {
    if (text.len == 0 || (text.ptr[0] >= '0' && text.ptr[0] <= '9')) return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool fine =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9');
        if (!fine) return false;
    }
    return true;
}

static const char *variable(const struct hk_conf_expander *expander, struct hk_str name) {
    char text[NAME_BYTES_MAX + 1];
    if (name.len > NAME_BYTES_MAX) return NULL;
    memcpy(text, name.ptr, name.len);
    text[name.len] = 0;
    const struct hk_conf_source *source = expander->source;
    if (source != NULL && source->env != NULL) return source->env(source->self, text);
    return hk_env_get(text);
}

static hk_err complain(
    const struct hk_conf_expander *expander, const struct hk_conf_node *node, struct hk_str text) {
    hk_conf_problem_add(
        expander->report, false, node->file, node->line, node->column,
        "set it, or give a default with ${NAME:-default}, or write $${NAME} for the text itself",
        "the environment variable %.*s is not set", HK_STR_ARG(text));
    return HK_E_INVALID;
}

/* Content of the file without the line end at its end. */
static hk_err put_file(
    const struct hk_conf_expander *expander, const struct hk_conf_node *node, struct hk_str path,
    struct hk_buf *out) {
    struct hk_str full = hk_conf_join(expander->arena, node->file, path);
    const char *why = "files may not be read here";
    char name[PATH_BYTES_MAX];
    struct hk_str text = { 0 };
    hk_err err = HK_E_DENIED;
    if (full.ptr == NULL) return HK_E_NOMEM;
    if (full.len >= sizeof(name)) {
        why = "the path is too long";
    } else if (expander->source == NULL || !expander->source->no_files) {
        memcpy(name, full.ptr, full.len);
        name[full.len] = 0;
        err = hk_conf_read_file(name, SUBSTITUTE_BYTES_MAX, expander->arena, &text, &why);
    }
    if (err == HK_E_NOMEM) return err;
    if (err < 0) {
        hk_conf_problem_add(
            expander->report, false, node->file, node->line, node->column,
            "give the path of a readable file of at most 64 KiB", "${file:%.*s}: %s",
            HK_STR_ARG(path), why);
        return HK_E_INVALID;
    }
    while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r'))
        text.len--;
    hk_buf_str(out, text);
    return HK_OK;
}

/* One ${inside}; HK_MORE when it is none of ours. */
static hk_err put_one(
    const struct hk_conf_expander *expander, const struct hk_conf_node *node, struct hk_str inside,
    struct hk_buf *out) {
    if (hk_str_starts(inside, HK_STR("file:"))) {
        return put_file(expander, node, hk_str_part(inside, 5, inside.len), out);
    }
    size_t colon = hk_str_find(inside, ':', 0);
    struct hk_str name = hk_str_part(inside, 0, colon);
    bool fallback = colon + 1 < inside.len && inside.ptr[colon + 1] == '-';
    if (!is_name(name) || (colon < inside.len && !fallback)) return HK_MORE;
    const char *value = variable(expander, name);
    if (value == NULL && !fallback) return complain(expander, node, name);
    if (value == NULL || (value[0] == 0 && fallback)) {
        hk_buf_str(out, hk_str_part(inside, colon + 2, inside.len));
        return HK_OK;
    }
    if (strnlen(value, SUBSTITUTE_BYTES_MAX + 1) > SUBSTITUTE_BYTES_MAX) return HK_E_LIMIT;
    hk_buf_text(out, value);
    return HK_OK;
}

static hk_err finish(
    const struct hk_conf_expander *expander, const struct hk_conf_node *node, struct hk_buf *buf,
    struct hk_str *out) {
    if (buf->err == HK_E_LIMIT || !hk_utf8_valid(hk_buf_get(buf))) {
        hk_conf_problem_add(
            expander->report, false, node->file, node->line, node->column,
            "check what the variable or file holds", "after substitution the value is %s",
            buf->err == HK_E_LIMIT ? "longer than 1 MiB" : "not valid UTF-8");
        return HK_E_INVALID;
    }
    if (buf->err < 0) return buf->err;
    struct hk_str copy = hk_arena_str(expander->arena, hk_buf_get(buf));
    if (copy.ptr == NULL) return HK_E_NOMEM;
    *out = copy;
    return HK_OK;
}

static hk_err
run(const struct hk_conf_expander *expander, const struct hk_conf_node *node, struct hk_buf *out,
    bool *out_changed) {
    struct hk_str text = node->text;
    size_t at = 0;
    while (at < text.len) {
        size_t dollar = hk_str_find(text, '$', at);
        hk_buf_str(out, hk_str_part(text, at, dollar));
        at = dollar;
        if (at == text.len) break;
        struct hk_str rest = hk_str_part(text, at, text.len);
        size_t end = hk_str_find(rest, '}', 0);
        if (hk_str_starts(rest, HK_STR("$${"))) {
            hk_buf_text(out, "${");
            at += 3;
            *out_changed = true;
        } else if (hk_str_starts(rest, HK_STR("${")) && end < rest.len) {
            hk_err err = put_one(expander, node, hk_str_part(rest, 2, end), out);
            if (err < 0) return err;
            if (err == HK_MORE) hk_buf_str(out, hk_str_part(rest, 0, end + 1));
            if (err == HK_OK) *out_changed = true;
            at += end + 1;
        } else {
            hk_buf_char(out, '$');
            at++;
        }
    }
    return HK_OK;
}

hk_err hk_conf_expand(
    const struct hk_conf_expander *expander, const struct hk_conf_node *node, struct hk_str *out,
    bool *out_changed) {
    *out_changed = false;
    *out = node->text;
    if (hk_str_find(node->text, '$', 0) == node->text.len) return HK_OK;
    struct hk_buf buf;
    hk_buf_init(&buf, HK_CONF_SCALAR_BYTES_MAX);
    hk_err err = run(expander, node, &buf, out_changed);
    if (err >= 0 && *out_changed) err = finish(expander, node, &buf, out);
    hk_buf_deinit(&buf);
    return err;
}

/* End of the name that begins at `from`: letters, digits and underscores. */
static size_t name_end(struct hk_str text, size_t from) {
    size_t end = from;
    while (end < text.len && is_name((struct hk_str){ text.ptr + from, end - from + 1 }))
        end++;
    return end;
}

static void put_go_variable(
    const struct hk_conf_expander *expander, const struct hk_conf_node *node, struct hk_str name,
    struct hk_buf *out) {
    const char *value = variable(expander, name);
    if (value == NULL) {
        hk_conf_problem_add(
            expander->report, true, node->file, node->line, node->column,
            "set it, or write $$ for a dollar sign",
            "the environment variable %.*s is not set; it is empty in this label",
            HK_STR_ARG(name));
        return;
    }
    hk_buf_text(out, value);
}

hk_err hk_conf_expand_go(
    const struct hk_conf_expander *expander, const struct hk_conf_node *node, struct hk_str *out,
    bool *out_changed) {
    struct hk_str text = node->text;
    *out_changed = false;
    *out = text;
    if (hk_str_find(text, '$', 0) == text.len) return HK_OK;
    /* ${NAME:-default} and ${file:…} are hark's and cannot be names of variables. */
    if (strstr(text.ptr, ":-") != NULL || strstr(text.ptr, "${file:") != NULL) {
        return hk_conf_expand(expander, node, out, out_changed);
    }
    struct hk_buf buf;
    hk_buf_init(&buf, HK_CONF_SCALAR_BYTES_MAX);
    size_t at = 0;
    while (at < text.len) {
        size_t dollar = hk_str_find(text, '$', at);
        hk_buf_str(&buf, hk_str_part(text, at, dollar));
        at = dollar + 1;
        if (dollar == text.len) break;
        bool brace = at < text.len && text.ptr[at] == '{';
        size_t end = name_end(text, at + (brace ? 1 : 0));
        if (at < text.len && text.ptr[at] == '$') {
            hk_buf_char(&buf, '$');
            at++;
        } else if (
            end > at + (brace ? 1 : 0) && (!brace || (end < text.len && text.ptr[end] == '}'))) {
            put_go_variable(expander, node, hk_str_part(text, at + (brace ? 1 : 0), end), &buf);
            at = end + (brace ? 1 : 0);
        } else {
            hk_buf_char(&buf, '$');
        }
    }
    *out_changed = true;
    hk_err err = finish(expander, node, &buf, out);
    hk_buf_deinit(&buf);
    return err;
}
