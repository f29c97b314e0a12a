/*
 * Which blocks to merge next.
 *
 * Blocks of a tenant are grouped into time partitions by the middle of their span; a partition of
 * level T takes blocks of lower levels (the top level also its own). A group is due when its
 * partition is closed, or when it has fan_in blocks.
 *
 * (1) The output gets the highest order of its inputs. So that every sample keeps its precedence,
 * no block that stays outside may overlap the inputs in time with an order between theirs; blocks
 *     that are just being committed count as overlapping. Groups are cut into runs accordingly.
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

static bool overlaps(const struct hk_block_info *info, int64_t min_ms, int64_t max_ms) {
    return info->min_ms <= max_ms && info->max_ms >= min_ms;
}

/* (1): is there a block outside with an order between `low` and `high` that overlaps? */
static bool intruded(
    const struct planning *planning, uint32_t tenant, struct hk_block *const *inputs,
    uint32_t count, uint64_t low, uint64_t high, int64_t min_ms, int64_t max_ms) {
    for (size_t i = 0; i < planning->committing_count; i++) {
        if (planning->committing[i] > low && planning->committing[i] < high) return true;
    }
    for (uint32_t i = 0; i < planning->count; i++) {
        const struct hk_block_info *info = hk_block_info(planning->blocks[i]);
        if (info->tenant != tenant || info->order <= low || info->order >= high) continue;
        if (!overlaps(info, min_ms, max_ms)) continue;
        bool inside = false;
        for (uint32_t k = 0; k < count; k++)
            inside = inside || inputs[k] == planning->blocks[i];
        if (!inside) return true;
    }
    return false;
}

/* Takes blocks of `group` (by ascending order) from `first` on as long as limits and (1) allow;
 * returns how many. */
static uint32_t take_run(
    const struct planning *planning, struct hk_block *const *group, uint32_t group_count,
    uint32_t first) {
    int64_t min_ms = INT64_MAX, max_ms = INT64_MIN;
    uint64_t bytes = 0;
    uint32_t taken = 0;
    const struct hk_block_info *start = hk_block_info(group[first]);
    while (first + taken < group_count && taken < HK_BLOCKSET_INPUTS_MAX) {
        const struct hk_block_info *info = hk_block_info(group[first + taken]);
        bytes += info->bytes;
        if (bytes > planning->options->output_bytes_max) break;
        const int64_t min = info->min_ms < min_ms ? info->min_ms : min_ms;
        const int64_t max = info->max_ms > max_ms ? info->max_ms : max_ms;
        if (taken > 0 && intruded(
                             planning, info->tenant, group + first, taken + 1, start->order,
                             info->order, min, max)) {
            break;
        }
        min_ms = min;
        max_ms = max;
        taken++;
    }
    return taken;
}

/* Is a run worth merging at this level? */
static bool is_due(
    const struct planning *planning, struct hk_block *const *run, uint32_t count, uint32_t level,
    bool top, bool closed) {
    if (count < 2) return false;
    if (count >= planning->options->fan_in) return true;
    if (!closed) return false;
    if (!top) return true;
    uint64_t largest = 0, rest = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct hk_block_info *info = hk_block_info(run[i]);
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
        const uint32_t count = take_run(planning, group, members, first);
        if (is_due(planning, group + first, count, level, top, closed)) {
            memcpy(out_inputs, group + first, count * sizeof(struct hk_block *));
            return count;
        }
        first += count == 0 ? 1 : count;
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
