/* Formats of the log shared by wal.c (writing) and wal_replay.c (reading). */
#ifndef HK_STORE_WAL_INTERNAL_H
#define HK_STORE_WAL_INTERNAL_H

#include "store/wal.h"

#include <assert.h>

#define HK_WAL_SEGMENT_MAGIC 0x4c41574b52414848ULL
#define HK_WAL_GROUP_MAGIC   0x50524748U

enum { HK_WAL_VERSION_MAJOR = 1, HK_WAL_GROUP_BYTES_MAX = 1 << 28 };

struct hk_wal_segment_header {
    uint64_t magic;
    uint16_t major, minor;
    uint32_t shard;
    uint64_t features;
    uint64_t sequence;
    uint64_t first_group;
    uint32_t tenant, crc; /* crc of the bytes before it */
    uint64_t reserved[2];
};
static_assert(sizeof(struct hk_wal_segment_header) == 64, "no padding");

struct hk_wal_group_header {
    uint32_t magic, crc; /* crc of the header behind it and of the payload */
    uint64_t number;
    int64_t base_ms;
    int64_t commit_ms;
    uint32_t records, side_bytes;
    uint32_t series; /* refs are below it */
    uint32_t tenant;
    uint64_t reserved[2];
};
static_assert(sizeof(struct hk_wal_group_header) == 64, "no padding");
static_assert(sizeof(struct hk_record) == 16, "no padding");

struct hk_wal_segment {
    uint64_t sequence, first_group, last_group; /* last 0: no group yet */
    int64_t bytes;
};

/* Segments found, ascending, and the last valid group number. */
struct hk_wal_found {
    struct hk_wal_segment *segments;
    size_t count, capacity;
    uint64_t last_group;
    uint64_t sequence_max;
};

/* Reads the folder and replays. The caller frees out->segments. */
hk_err hk_wal_recover(
    const struct hk_wal_options *options, uint64_t released, const struct hk_wal_replay *replay,
    struct hk_wal_found *out, struct hk_wal_report *report);

/* Path of a segment file. */
void hk_wal_path(const char *dir, uint64_t sequence, char *out, size_t out_bytes);

#endif
