/*
 * The outbox on disk: SQLite in WAL mode with synchronous=FULL, so that a commit is durable.
 *   notification  what was not answered, and the newest that ended (docs: README.md)
 *   sent          per group and integration: what the last notification told
 * One connection, used by one thread.
 */
#include "base/mem.h"
#include "os/file.h"
#include "respond/respond_internal.h"

#include <sqlite3.h>
#include <stdio.h>

enum { SCHEMA_VERSION = 1, CACHE_KIB = 2048, BUSY_MS = 2000 };

enum statement {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_ADD,
    SQL_REMOVE,
    SQL_FINISH,
    SQL_BODY,
    SQL_SET_SENT,
    SQL_FORGET,
    SQL_TRIM_DONE,
    SQL_ROWS,
    SQL_SENT,
    SQL_COUNT,
};

static const char *const texts[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_ADD] = "INSERT INTO notification(id,kind,integration,group_key,resolved,created_ms,body)"
                " VALUES(?,?,?,?,?,?,?)",
    [SQL_REMOVE] = "DELETE FROM notification WHERE rowid=?",
    [SQL_FINISH] = "UPDATE notification SET state=?,attempts=?,status=?,finished_ms=?,text=?,"
                   "output=?,body=NULL WHERE rowid=?",
    [SQL_BODY] = "SELECT body FROM notification WHERE rowid=?",
    [SQL_SET_SENT] = "INSERT OR REPLACE INTO sent(group_key,integration,sent_ms,repeats,told)"
                     " VALUES(?,?,?,?,?)",
    [SQL_FORGET] = "DELETE FROM sent WHERE group_key=?",
    [SQL_TRIM_DONE] = "DELETE FROM notification WHERE state<>0 AND rowid NOT IN (SELECT rowid FROM"
                      " notification WHERE state<>0 ORDER BY rowid DESC LIMIT ?)",
    [SQL_ROWS] = "SELECT rowid,id,kind,integration,group_key,resolved,created_ms,state,attempts,"
                 "status,finished_ms,text,output FROM notification ORDER BY rowid",
    [SQL_SENT] = "SELECT integration,group_key,sent_ms,repeats,told FROM sent",
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS notification(rowid INTEGER PRIMARY KEY, id TEXT NOT NULL,"
    " kind INTEGER NOT NULL, integration TEXT NOT NULL, group_key TEXT NOT NULL,"
    " resolved INTEGER NOT NULL, created_ms INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0,"
    " attempts INTEGER NOT NULL DEFAULT 0, status INTEGER NOT NULL DEFAULT 0,"
    " finished_ms INTEGER NOT NULL DEFAULT 0, text TEXT, output BLOB, body BLOB);"
    "CREATE TABLE IF NOT EXISTS sent(group_key TEXT NOT NULL, integration TEXT NOT NULL,"
    " sent_ms INTEGER NOT NULL, repeats INTEGER NOT NULL, told BLOB NOT NULL,"
    " PRIMARY KEY(group_key, integration)) WITHOUT ROWID;";

struct database {
    sqlite3 *handle;
    sqlite3_stmt *statements[SQL_COUNT];
};

static hk_err failed(struct database *database, const char *what) {
    int code = sqlite3_errcode(database->handle);
    hk_err err = code == SQLITE_FULL                               ? HK_E_NOSPACE
                 : code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? HK_E_CORRUPT
                                                                   : HK_E_IO;
    return hk_fail(err, "outbox: %s: %s", what, sqlite3_errmsg(database->handle));
}

static hk_err run_text(struct database *database, const char *sql) {
    if (sqlite3_exec(database->handle, sql, NULL, NULL, NULL) != SQLITE_OK)
        return failed(database, "cannot prepare the file");
    return HK_OK;
}

static hk_err check_version(struct database *database) {
    sqlite3_stmt *statement = NULL;
    int version = -1;
    if (sqlite3_prepare_v2(database->handle, "PRAGMA user_version", -1, &statement, NULL) ==
            SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        version = sqlite3_column_int(statement, 0);
    }
    (void)sqlite3_finalize(statement);
    if (version < 0) return failed(database, "cannot read the file");
    if (version > SCHEMA_VERSION) {
        return hk_fail(
            HK_E_VERSION, "outbox: written by a newer hark (format %d, this one knows %d)", version,
            SCHEMA_VERSION);
    }
    return HK_OK;
}

static hk_err prepare(struct database *database, const char *path) {
    if (sqlite3_open_v2(
            path, &database->handle,
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        return failed(database, "cannot open the file");
    }
    (void)sqlite3_busy_timeout(database->handle, BUSY_MS);
    HK_TRY(check_version(database));
    char settings[256];
    (void)snprintf(
        settings, sizeof(settings),
        "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA cache_size=-%d;"
        "PRAGMA user_version=%d;PRAGMA temp_store=MEMORY;PRAGMA journal_size_limit=16777216",
        CACHE_KIB, SCHEMA_VERSION);
    HK_TRY(run_text(database, settings));
    HK_TRY(run_text(database, schema));
    for (size_t i = 0; i < SQL_COUNT; i++) {
        if (sqlite3_prepare_v3(
                database->handle, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &database->statements[i],
                NULL) != SQLITE_OK) {
            return failed(database, "cannot use the file");
        }
    }
    return HK_OK;
}

hk_err hk_database_open(struct hk_str directory, struct database **out) {
    char path[4096];
    int len = snprintf(path, sizeof(path), "%.*s", HK_STR_ARG(directory));
    if (len < 0 || (size_t)len + 16 > sizeof(path)) return hk_fail(HK_E_INVALID, "path too long");
    int made = hk_dir_create(path);
    if (made < 0)
        return hk_fail(HK_E_IO, "cannot make the directory %s: %s", path, strerror(-made));
    (void)snprintf(path + len, sizeof(path) - (size_t)len, "/outbox.db");
    struct database *database = hk_mem_alloc(1, sizeof(*database));
    if (database == NULL) return HK_E_NOMEM;
    hk_err err = prepare(database, path);
    if (err < 0) {
        hk_database_close(database);
        return hk_fail_note(err, "%s", path);
    }
    *out = database;
    return HK_OK;
}

void hk_database_close(struct database *database) {
    if (database == NULL) return;
    for (size_t i = 0; i < SQL_COUNT; i++)
        (void)sqlite3_finalize(database->statements[i]);
    (void)sqlite3_close(database->handle);
    hk_mem_free(database);
}

/* --- Statements ------------------------------------------------------------------------------- */

static sqlite3_stmt *bind_begin(struct database *database, enum statement which) {
    sqlite3_stmt *statement = database->statements[which];
    (void)sqlite3_reset(statement);
    return statement;
}

static void bind_text(sqlite3_stmt *statement, int at, struct hk_str text) {
    (void)sqlite3_bind_text64(
        statement, at, text.ptr == NULL ? "" : text.ptr, text.len, SQLITE_STATIC, SQLITE_UTF8);
}

static void bind_blob(sqlite3_stmt *statement, int at, const void *data, size_t bytes) {
    (void)sqlite3_bind_blob64(statement, at, bytes == 0 ? "" : data, bytes, SQLITE_STATIC);
}

/* Runs a statement that gives no rows. Borrowed values are let go. */
static hk_err finish(struct database *database, sqlite3_stmt *statement, const char *what) {
    int code = sqlite3_step(statement);
    hk_err err = code == SQLITE_DONE || code == SQLITE_ROW ? HK_OK : failed(database, what);
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return err;
}

hk_err hk_database_begin(struct database *database) {
    return finish(database, bind_begin(database, SQL_BEGIN), "cannot begin");
}

hk_err hk_database_commit(struct database *database) {
    hk_err err = finish(database, bind_begin(database, SQL_COMMIT), "cannot commit");
    if (err >= 0) return err;
    char why[256];
    (void)snprintf(why, sizeof(why), "%s", hk_fail_text());
    (void)finish(database, bind_begin(database, SQL_ROLLBACK), "cannot roll back");
    return hk_fail(err, "%s", why);
}

hk_err hk_database_add(
    struct database *database, const struct message *message, const struct integration *integration,
    int64_t created_ms, int64_t *out_rowid) {
    sqlite3_stmt *statement = bind_begin(database, SQL_ADD);
    bind_text(statement, 1, hk_str_from(message->id));
    (void)sqlite3_bind_int(statement, 2, (int)integration->kind);
    bind_text(statement, 3, integration->name);
    bind_text(statement, 4, message->group_key);
    (void)sqlite3_bind_int(statement, 5, message->resolved);
    (void)sqlite3_bind_int64(statement, 6, created_ms);
    bind_blob(statement, 7, message->body.ptr, message->body.len);
    HK_TRY(finish(database, statement, "cannot write a notification"));
    *out_rowid = sqlite3_last_insert_rowid(database->handle);
    return HK_OK;
}

hk_err hk_database_remove(struct database *database, int64_t rowid) {
    sqlite3_stmt *statement = bind_begin(database, SQL_REMOVE);
    (void)sqlite3_bind_int64(statement, 1, rowid);
    return finish(database, statement, "cannot remove a notification");
}

hk_err hk_database_finish(
    struct database *database, int64_t rowid, enum row_state state, int attempts, int status,
    int64_t now_ms, struct hk_str text, struct hk_str output) {
    sqlite3_stmt *statement = bind_begin(database, SQL_FINISH);
    (void)sqlite3_bind_int(statement, 1, (int)state);
    (void)sqlite3_bind_int(statement, 2, attempts);
    (void)sqlite3_bind_int(statement, 3, status);
    (void)sqlite3_bind_int64(statement, 4, now_ms);
    bind_text(statement, 5, text);
    bind_blob(statement, 6, output.ptr, output.len);
    (void)sqlite3_bind_int64(statement, 7, rowid);
    return finish(database, statement, "cannot end a notification");
}

static struct hk_str column(sqlite3_stmt *statement, int at) {
    const void *data = sqlite3_column_blob(statement, at);
    int bytes = sqlite3_column_bytes(statement, at);
    return (struct hk_str){ data == NULL ? "" : data, data == NULL ? 0 : (size_t)bytes };
}

hk_err hk_database_body(struct database *database, int64_t rowid, struct hk_buf *out) {
    sqlite3_stmt *statement = bind_begin(database, SQL_BODY);
    (void)sqlite3_bind_int64(statement, 1, rowid);
    hk_err err = HK_E_NOT_FOUND;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        hk_buf_str(out, column(statement, 0));
        err = out->err;
    } else if (code != SQLITE_DONE) {
        err = failed(database, "cannot read a notification");
    }
    (void)sqlite3_reset(statement);
    return err;
}

hk_err hk_database_set_sent(
    struct database *database, struct hk_str integration, struct hk_str group_key, int64_t sent_ms,
    uint32_t repeat_count, const struct told *told, uint32_t told_count) {
    sqlite3_stmt *statement = bind_begin(database, SQL_SET_SENT);
    bind_text(statement, 1, group_key);
    bind_text(statement, 2, integration);
    (void)sqlite3_bind_int64(statement, 3, sent_ms);
    (void)sqlite3_bind_int64(statement, 4, repeat_count);
    bind_blob(statement, 5, told, told_count * sizeof(*told));
    return finish(database, statement, "cannot write what was sent");
}

hk_err hk_database_forget(struct database *database, struct hk_str group_key) {
    sqlite3_stmt *statement = bind_begin(database, SQL_FORGET);
    bind_text(statement, 1, group_key);
    return finish(database, statement, "cannot forget a group");
}

hk_err hk_database_trim(struct database *database) {
    sqlite3_stmt *statement = bind_begin(database, SQL_TRIM_DONE);
    (void)sqlite3_bind_int(statement, 1, HK_RESPOND_HISTORY_MAX);
    return finish(database, statement, "cannot trim");
}

hk_err hk_database_rows(
    struct database *database, hk_err (*visit)(void *self, const struct row *row), void *self) {
    sqlite3_stmt *statement = bind_begin(database, SQL_ROWS);
    hk_err err = HK_OK;
    int code = SQLITE_ROW;
    while (err >= 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        int state = sqlite3_column_int(statement, 7);
        struct row row = {
            .rowid = sqlite3_column_int64(statement, 0),
            .id = column(statement, 1),
            .kind = sqlite3_column_int(statement, 2) == INTEGRATION_EXEC ? INTEGRATION_EXEC
                                                                         : INTEGRATION_WEBHOOK,
            .integration = column(statement, 3),
            .group_key = column(statement, 4),
            .resolved = sqlite3_column_int(statement, 5) != 0,
            .created_ms = sqlite3_column_int64(statement, 6),
            .state = state < 0 || state > ROW_UNKNOWN ? ROW_UNKNOWN : (enum row_state)state,
            .attempts = sqlite3_column_int(statement, 8),
            .status = sqlite3_column_int(statement, 9),
            .finished_ms = sqlite3_column_int64(statement, 10),
            .text = column(statement, 11),
            .output = column(statement, 12),
        };
        err = visit(self, &row);
    }
    if (err >= 0 && code != SQLITE_DONE) err = failed(database, "cannot read the notifications");
    (void)sqlite3_reset(statement);
    return err;
}

hk_err hk_database_sent(
    struct database *database,
    hk_err (*visit)(
        void *self, struct hk_str integration, struct hk_str group_key, int64_t sent_ms,
        uint32_t repeat_count, const struct told *told, uint32_t told_count),
    void *self) {
    sqlite3_stmt *statement = bind_begin(database, SQL_SENT);
    hk_err err = HK_OK;
    int code = SQLITE_ROW;
    while (err >= 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct hk_str told = column(statement, 4);
        err = visit(
            self, column(statement, 0), column(statement, 1), sqlite3_column_int64(statement, 2),
            (uint32_t)sqlite3_column_int64(statement, 3),
            (const struct told *)(const void *)told.ptr,
            (uint32_t)(told.len / sizeof(struct told)));
    }
    if (err >= 0 && code != SQLITE_DONE) err = failed(database, "cannot read what was sent");
    (void)sqlite3_reset(statement);
    return err;
}
