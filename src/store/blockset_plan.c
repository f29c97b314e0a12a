/*
 * Which blocks to merge next.
 *
 * Blocks of a tenant are grouped into time partitions by the middle of their span; a partition of
 * level T takes blocks of lower levels (the top level also its own). A group is due when its
 * partition is closed, or when it has fan_in blocks.
 *
 * (1) The output gets the highest order of its inputs. So that every sample keeps its precedence,
 * no block that stays outside may overlap the inputs in time with an order between theirs: such a
 *     block of another partition or level joins the inputs. Blocks that are just being committed
 *     count as overlapping and cannot join.
 */
#include "base/mem.h"
#include "store/blockset_internal.h"

/* Small late blocks join a large block of the top level only if they are this part of it. */
enum { TOP_PART = 8 };

struct planning {
    const struct hk_blockset_options *options;
    struct hk_block *const *blocks; /* by ascending order */
    uint32_t count;
    const uint64_t *committing;
    size_t committing_count;
    int64_t now_ms;
};

static int64_t floor_div(int64_t x, int64_t by) {
    const int64_t quotient = x / by;
    return x % by < 0 ? quotient - 1 : quotient;
}

static int64_t partition_of(const struct hk_block_info *info, int64_t length_ms) {
    if (info->min_ms > info->max_ms) return 0; /* no samples: anywhere */
    const uint64_t span = (uint64_t)info->max_ms - (uint64_t)info->min_ms;
    return floor_div((int64_t)((uint64_t)info->min_ms + span / 2), length_ms);
}

/* Inputs under choice. */
struct run {
    struct hk_block *blocks[HK_BLOCKSET_INPUTS_MAX];
    uint32_t count;
    uint64_t bytes, low, high; /* orders */
    int64_t min_ms, max_ms;
};

static bool run_has(const struct run *run, const struct hk_block *block) {
    for (uint32_t i = 0; i < run->count; i++) {
        if (run->blocks[i] == block) return true;
    }
    return false;
}

/* False when a limit forbids it. */
static bool run_add(const struct planning *planning, struct run *run, struct hk_block *block) {
    const struct hk_block_info *info = hk_block_info(block);
    if (run->count == HK_BLOCKSET_INPUTS_MAX) return false;
    if (run->bytes + info->bytes > planning->options->output_bytes_max) return false;
    if (run->count == 0) {
        run->low = run->high = info->order;
        run->min_ms = info->min_ms;
        run->max_ms = info->max_ms;
    }
    run->blocks[run->count++] = block;
    run->bytes += info->bytes;
    run->low = info->order < run->low ? info->order : run->low;
    run->high = info->order > run->high ? info->order : run->high;
    run->min_ms = info->min_ms < run->min_ms ? info->min_ms : run->min_ms;
    run->max_ms = info->max_ms > run->max_ms ? info->max_ms : run->max_ms;
    return true;
}

/* (1): takes the blocks in between in, until there are none; false when one cannot come in. */
static bool run_close(const struct planning *planning, struct run *run, uint32_t tenant) {
    for (size_t i = 0; i < planning->committing_count; i++) {
        if (planning->committing[i] > run->low && planning->committing[i] < run->high) return false;
    }
    for (uint32_t i = 0; i < planning->count; i++) {
        struct hk_block *block = planning->blocks[i];
        const struct hk_block_info *info = hk_block_info(block);
        if (info->tenant != tenant || info->order <= run->low || info->order >= run->high) continue;
        if (info->min_ms > run->max_ms || info->max_ms < run->min_ms || run_has(run, block))
            continue;
        if (!run_add(planning, run, block)) return false;
        i = UINT32_MAX; /* the span may have grown: from the start; at most INPUTS_MAX times */
    }
    return true;
}

static void sort_run(struct run *run) {
    for (uint32_t i = 1; i < run->count; i++) {
        struct hk_block *block = run->blocks[i];
        uint32_t k = i;
        for (; k > 0 && hk_block_info(run->blocks[k - 1])->order > hk_block_info(block)->order; k--)
            run->blocks[k] = run->blocks[k - 1];
        run->blocks[k] = block;
    }
}

/* Takes blocks of `group` (by ascending order) from `first` on as long as limits and (1) allow;
 * returns the index behind the last one taken. */
static uint32_t take_run(
    const struct planning *planning, struct hk_block *const *group, uint32_t group_count,
    uint32_t first, struct run *out) {
    struct run run = { 0 };
    uint32_t next = first;
    for (; next < group_count; next++) {
        struct run larger = run;
        if (run_has(&run, group[next])) continue;
        if (!run_add(planning, &larger, group[next])) break;
        if (!run_close(planning, &larger, hk_block_info(group[next])->tenant)) break;
        run = larger;
    }
    sort_run(&run);
    *out = run;
    return next == first ? first + 1 : next;
}

/* Is a run worth merging at this level? */
static bool is_due(
    const struct planning *planning, const struct run *run, uint32_t level, bool top, bool closed) {
    if (run->count < 2) return false;
    if (run->count >= planning->options->fan_in) return true;
    if (!closed) return false;
    if (!top) return true;
    uint64_t largest = 0, rest = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        const struct hk_block_info *info = hk_block_info(run->blocks[i]);
        if (info->level < level) {
            rest += info->bytes;
        } else if (info->bytes > largest) {
            rest += largest;
            largest = info->bytes;
        } else {
            rest += info->bytes;
        }
    }
    return rest * TOP_PART >= largest;
}

/* Looks for a due run among the blocks of the partition of `seed`. */
static uint32_t plan_partition(
    const struct planning *planning, const struct hk_block_info *seed, uint32_t level, bool top,
    struct hk_block **group, struct hk_block *out_inputs[HK_BLOCKSET_INPUTS_MAX]) {
    const int64_t length_ms = planning->options->partition_ms[level - 1];
    const int64_t partition = partition_of(seed, length_ms);
    const uint32_t level_max = top ? UINT32_MAX : level - 1;
    uint32_t members = 0;
    for (uint32_t i = 0; i < planning->count; i++) {
        const struct hk_block_info *info = hk_block_info(planning->blocks[i]);
        if (info->tenant != seed->tenant || info->level > level_max) continue;
        if (partition_of(info, length_ms) == partition) group[members++] = planning->blocks[i];
    }
    const bool closed =
        floor_div(planning->now_ms - planning->options->grace_ms, length_ms) > partition;
    for (uint32_t first = 0; first + 1 < members;) {
        struct run run;
        first = take_run(planning, group, members, first, &run);
        if (!is_due(planning, &run, level, top, closed)) continue;
        memcpy(out_inputs, run.blocks, run.count * sizeof(struct hk_block *));
        return run.count;
    }
    return 0;
}

static uint32_t plan_all(
    const struct planning *planning, struct hk_block **group,
    struct hk_block *out_inputs[HK_BLOCKSET_INPUTS_MAX], uint32_t *out_level) {
    for (uint32_t level = 1; level <= HK_BLOCKSET_LEVELS_MAX; level++) {
        const int64_t *lengths = planning->options->partition_ms;
        if (lengths[level - 1] <= 0) break;
        const bool top = level == HK_BLOCKSET_LEVELS_MAX || lengths[level] <= 0;
        for (uint32_t i = 0; i < planning->count; i++) {
            const struct hk_block_info *seed = hk_block_info(planning->blocks[i]);
            if (!top && seed->level >= level) continue;
            /* Each partition once: by its first member. */
            bool seen = false;
            for (uint32_t k = 0; k < i && !seen; k++) {
                const struct hk_block_info *info = hk_block_info(planning->blocks[k]);
                seen = info->tenant == seed->tenant && (top || info->level < level) &&
                       partition_of(info, lengths[level - 1]) ==
                           partition_of(seed, lengths[level - 1]);
            }
            if (seen) continue;
            const uint32_t count = plan_partition(planning, seed, level, top, group, out_inputs);
            *out_level = level;
            if (count > 0) return count;
        }
    }
    return 0;
}

uint32_t hk_blockset_plan(
    struct hk_blockset *set, const struct hk_blockset_snapshot *snapshot, int64_t now_ms,
    struct hk_block *out_inputs[HK_BLOCKSET_INPUTS_MAX], uint32_t *out_level) {
    struct hk_block **group = hk_mem_alloc(snapshot->count, sizeof(struct hk_block *));
    if (group == NULL) return 0; /* next time */
    hk_mutex_lock(&set->lock);
    const size_t committing_count = set->committing_count;
    uint64_t *committing = hk_mem_alloc(committing_count, sizeof(uint64_t));
    if (committing != NULL && committing_count > 0) {
        memcpy(committing, set->committing, committing_count * sizeof(uint64_t));
    }
    hk_mutex_unlock(&set->lock);
    uint32_t count = 0;
    if (committing != NULL) {
        const struct planning planning = {
            .options = &set->options,
            .blocks = snapshot->blocks,
            .count = snapshot->count,
            .committing = committing,
            .committing_count = committing_count,
            .now_ms = now_ms,
        };
        count = plan_all(&planning, group, out_inputs, out_level);
    }
    hk_mem_free(committing);
    hk_mem_free(group);
    return count;
}
