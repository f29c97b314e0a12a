/*
 * Merging blocks: all inputs are walked by series in label order; the columns of a series are
 * merged by time into chunks of 1,024 samples.
 *
 * A chunk that cannot be read is left out and reported, and its block is quarantined instead of
 * removed afterwards: what was readable survives in the output.
 */
#include "base/mem.h"
#include "os/file.h"
#include "store/blockset_internal.h"

enum { OUT_PAYLOAD_BYTES = 1048576, READ_AHEAD = 131072, OUT_COUNT = HK_BLOCK_CHUNK_COUNT_MAX };

/* One column of the current series of an input: a source of the merge, one chunk at a time. */
struct column_reader {
    uint32_t chunk, chunk_end; /* next one, and the end, in the cursor's chunks */
    int64_t stamps_ms[HK_BLOCK_CHUNK_COUNT_MAX];
    double values[HK_BLOCK_CHUNK_COUNT_MAX];
    struct hk_str payloads[HK_BLOCK_CHUNK_COUNT_MAX];
    struct hk_buf bytes; /* of payloads */
};

struct input {
    struct hk_block *block;
    struct hk_block_work *work;
    struct hk_arena arena; /* labels of the current series */
    struct hk_labels labels;
    uint32_t number;
    bool ended, damaged;
    struct column_reader columns[2]; /* floats or exemplars, histograms */
};

/* Samples of one column that wait for a full chunk. */
struct output {
    enum hk_block_column column;
    uint32_t count;
    int64_t stamps_ms[OUT_COUNT];
    double values[OUT_COUNT];
    struct hk_str payloads[OUT_COUNT]; /* ptr is NULL: offset in `bytes` in `offsets` */
    size_t offsets[OUT_COUNT];
    struct hk_buf bytes;
};

struct compaction {
    struct hk_blockset *set;
    struct hk_block_writer *writer;
    struct input *inputs[HK_BLOCKSET_INPUTS_MAX];
    uint32_t count;
    struct output outputs[HK_BLOCK_COLUMNS];
    uint64_t overwritten;
    const _Atomic bool *cancel;
};

static hk_err no_memory(void) {
    return hk_fail(HK_E_NOMEM, "compaction: out of memory");
}

/* ------------------------------------------------------------------ inputs */

static void input_destroy(struct input *input) {
    if (input == NULL) return;
    hk_block_work_destroy(input->work);
    hk_arena_deinit(&input->arena);
    hk_buf_deinit(&input->columns[0].bytes);
    hk_buf_deinit(&input->columns[1].bytes);
    hk_block_unref(input->block);
    hk_mem_free(input);
}

static hk_err input_create(struct hk_block *block, struct input **out) {
    struct input *input = hk_mem_alloc(1, sizeof(*input));
    if (input == NULL) return no_memory();
    input->block = hk_block_ref(block);
    hk_arena_init(&input->arena, (size_t)64 << 20);
    for (int i = 0; i < 2; i++)
        hk_buf_init(&input->columns[i].bytes, HK_BLOCK_CHUNK_BYTES_MAX * 2UL);
    hk_err err = hk_block_work_create(&input->work);
    if (err < 0) {
        input_destroy(input);
        return err;
    }
    input->work->read_ahead = READ_AHEAD;
    *out = input;
    return HK_OK;
}

/* Loads the labels of series `number`, or ends. */
static hk_err input_go(struct input *input, uint32_t number) {
    input->number = number;
    input->ended = number >= hk_block_info(input->block)->series_count;
    if (input->ended) return HK_OK;
    hk_arena_reset(&input->arena);
    return hk_block_labels(input->block, input->work, number, &input->arena, &input->labels);
}

/* Where the column stands in the directory of the current series. */
static void find_column(struct input *input, enum hk_block_column column, uint32_t reader) {
    const struct hk_block_cursor *cursor = hk_block_cursor_of(input->block, input->work);
    uint32_t first = 0;
    while (first < cursor->chunk_count && cursor->chunks[first].chunk.column != column)
        first++;
    uint32_t end = first;
    while (end < cursor->chunk_count && cursor->chunks[end].chunk.column == column)
        end++;
    input->columns[reader].chunk = first;
    input->columns[reader].chunk_end = end;
}

static hk_err read_payload_chunk(
    struct input *input, struct column_reader *reader, const struct hk_block_chunk_entry *entry) {
    HK_TRY(hk_block_chunk_payloads(
        input->block, input->work, entry, 0, reader->stamps_ms, input->work->payloads));
    /* Kept apart from the work area, which the other column uses too. */
    hk_buf_clear(&reader->bytes);
    size_t all = 1;
    for (uint32_t i = 0; i < entry->chunk.count; i++)
        all += input->work->payloads[i].len;
    char *to = hk_buf_reserve(&reader->bytes, all);
    if (to == NULL) return no_memory();
    for (uint32_t i = 0; i < entry->chunk.count; i++) {
        const struct hk_str payload = input->work->payloads[i];
        if (payload.len > 0) memcpy(to, payload.ptr, payload.len);
        reader->payloads[i] = (struct hk_str){ to, payload.len };
        to += payload.len;
    }
    return HK_OK;
}

/* Decodes the next readable chunk of the column into the merge's source. */
static hk_err refill(
    struct compaction *compaction, struct input *input, uint32_t reader_index,
    struct hk_merge_source *source) {
    struct column_reader *reader = &input->columns[reader_index];
    while (source->at == source->count && reader->chunk < reader->chunk_end) {
        const struct hk_block_chunk_entry *entry =
            &hk_block_cursor_of(input->block, input->work)->chunks[reader->chunk++];
        const bool floats = entry->chunk.column == HK_BLOCK_FLOAT;
        hk_err err =
            floats ? hk_block_chunk_floats(
                         input->block, input->work, entry, 0, reader->stamps_ms, reader->values)
                   : read_payload_chunk(input, reader, entry);
        if (err == HK_E_CORRUPT) {
            hk_blockset_note_problem(compaction->set);
            input->damaged = true;
            continue;
        }
        HK_TRY(err);
        *source = (struct hk_merge_source){
            .stamps_ms = reader->stamps_ms,
            .values = floats ? reader->values : NULL,
            .payloads = floats ? NULL : reader->payloads,
            .count = entry->chunk.count,
        };
    }
    return HK_OK;
}

/* ------------------------------------------------------------------ output */

static hk_err output_flush(struct compaction *compaction, struct output *output) {
    if (output->count == 0) return HK_OK;
    const uint32_t count = output->count;
    output->count = 0;
    if (output->column == HK_BLOCK_FLOAT) {
        return hk_block_writer_floats(compaction->writer, output->stamps_ms, output->values, count);
    }
    for (uint32_t i = 0; i < count; i++)
        output->payloads[i].ptr = output->bytes.ptr + output->offsets[i];
    hk_err err = hk_block_writer_payloads(
        compaction->writer, output->column, output->stamps_ms, output->payloads, count);
    hk_buf_clear(&output->bytes);
    return err;
}

/* Is the payload the same as the one added last, at the same stamp? */
static bool repeats(const struct output *output, int64_t stamp_ms, struct hk_str payload) {
    if (output->count == 0) return false;
    const uint32_t last = output->count - 1;
    return output->stamps_ms[last] == stamp_ms && output->payloads[last].len == payload.len &&
           (payload.len == 0 ||
            memcmp(output->bytes.ptr + output->offsets[last], payload.ptr, payload.len) == 0);
}

static hk_err add_payload(
    struct compaction *compaction, struct output *output, int64_t stamp_ms, struct hk_str payload) {
    if (output->column == HK_BLOCK_EXEMPLAR && repeats(output, stamp_ms, payload)) return HK_OK;
    const uint32_t at = output->count++;
    output->stamps_ms[at] = stamp_ms;
    output->offsets[at] = output->bytes.len;
    output->payloads[at] = (struct hk_str){ NULL, payload.len };
    hk_buf_str(&output->bytes, payload);
    if (output->bytes.err < 0 || hk_buf_reserve(&output->bytes, 1) == NULL) return no_memory();
    if (output->count == OUT_COUNT || output->bytes.len >= OUT_PAYLOAD_BYTES) {
        return output_flush(compaction, output);
    }
    return HK_OK;
}

static hk_err add_run(
    struct compaction *compaction, const struct hk_merge_source *source, struct output *output,
    const struct hk_merge_run *run) {
    if (source->payloads != NULL) {
        for (uint32_t i = run->first; i < run->first + run->count; i++) {
            HK_TRY(add_payload(compaction, output, source->stamps_ms[i], source->payloads[i]));
        }
        return HK_OK;
    }
    for (uint32_t done = 0; done < run->count;) {
        uint32_t part = OUT_COUNT - output->count;
        if (part > run->count - done) part = run->count - done;
        memcpy(
            output->stamps_ms + output->count, source->stamps_ms + run->first + done,
            part * sizeof(int64_t));
        memcpy(
            output->values + output->count, source->values + run->first + done,
            part * sizeof(double));
        output->count += part;
        done += part;
        if (output->count == OUT_COUNT) HK_TRY(output_flush(compaction, output));
    }
    return HK_OK;
}

/* ------------------------------------------------------------------ one series */

/* Merges floats and histograms of the inputs `same`: source 2i holds the floats of same[i], source
 * 2i + 1 its histograms, so that newer blocks, and in a block the histogram, win. */
static hk_err
merge_samples(struct compaction *compaction, struct input *const *same, uint32_t count) {
    struct hk_merge_source sources[HK_BLOCKSET_INPUTS_MAX * 2] = { 0 };
    for (uint32_t i = 0; i < count; i++) {
        find_column(same[i], HK_BLOCK_FLOAT, 0);
        find_column(same[i], HK_BLOCK_HISTOGRAM, 1);
    }
    for (;;) {
        for (uint32_t i = 0; i < count * 2; i++)
            HK_TRY(refill(compaction, same[i / 2], i % 2, &sources[i]));
        struct hk_merge_run run;
        if (!hk_merge_next(sources, count * 2, &run)) break;
        compaction->overwritten += run.dropped;
        struct output *output =
            &compaction->outputs[run.source % 2 == 0 ? HK_BLOCK_FLOAT : HK_BLOCK_HISTOGRAM];
        HK_TRY(add_run(compaction, &sources[run.source], output, &run));
    }
    HK_TRY(output_flush(compaction, &compaction->outputs[HK_BLOCK_FLOAT]));
    return output_flush(compaction, &compaction->outputs[HK_BLOCK_HISTOGRAM]);
}

/* Exemplars of all inputs by time; several of one stamp are kept unless they are the same. */
static hk_err
merge_exemplars(struct compaction *compaction, struct input *const *same, uint32_t count) {
    struct hk_merge_source sources[HK_BLOCKSET_INPUTS_MAX] = { 0 };
    for (uint32_t i = 0; i < count; i++)
        find_column(same[i], HK_BLOCK_EXEMPLAR, 0);
    struct output *output = &compaction->outputs[HK_BLOCK_EXEMPLAR];
    for (;;) {
        uint32_t best = count;
        for (uint32_t i = 0; i < count; i++) {
            HK_TRY(refill(compaction, same[i], 0, &sources[i]));
            if (sources[i].at == sources[i].count) continue;
            if (best == count ||
                sources[i].stamps_ms[sources[i].at] < sources[best].stamps_ms[sources[best].at]) {
                best = i;
            }
        }
        if (best == count) break;
        struct hk_merge_source *source = &sources[best];
        if (HK_NEVER(source->payloads == NULL))
            return hk_fail(HK_E_CORRUPT, "block: exemplars without bytes");
        HK_TRY(add_payload(
            compaction, output, source->stamps_ms[source->at], source->payloads[source->at]));
        source->at++;
    }
    return output_flush(compaction, output);
}

/* Merges the series with the smallest labels; HK_END when all inputs have ended. */
static hk_err merge_series(struct compaction *compaction) {
    struct input *same[HK_BLOCKSET_INPUTS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < compaction->count; i++) {
        struct input *input = compaction->inputs[i];
        if (input->ended) continue;
        const int order = count == 0 ? -1 : hk_labels_cmp(input->labels, same[0]->labels);
        if (order > 0) continue;
        if (order < 0) count = 0;
        same[count++] = input;
    }
    if (count == 0) return HK_END;
    HK_TRY(hk_block_writer_series(compaction->writer, same[0]->labels));
    for (uint32_t i = 0; i < count; i++)
        HK_TRY(hk_block_series_chunks(same[i]->block, same[i]->work, same[i]->number));
    HK_TRY(merge_samples(compaction, same, count));
    HK_TRY(merge_exemplars(compaction, same, count));
    for (uint32_t i = 0; i < count; i++)
        HK_TRY(input_go(same[i], same[i]->number + 1));
    return HK_OK;
}

static hk_err merge_all(struct compaction *compaction) {
    for (uint32_t i = 0; i < compaction->count; i++)
        HK_TRY(input_go(compaction->inputs[i], 0));
    hk_err err = HK_OK;
    while (err == HK_OK) {
        if (compaction->cancel != NULL &&
            atomic_load_explicit(compaction->cancel, memory_order_relaxed)) {
            return hk_fail(HK_E_CANCELED, "compaction canceled");
        }
        err = merge_series(compaction);
    }
    return err < 0 ? err : HK_OK;
}

/* ------------------------------------------------------------------ the unit of work */

static hk_err create_output(struct compaction *compaction, uint32_t level) {
    uint64_t ids[HK_BLOCKSET_INPUTS_MAX];
    uint64_t order = 0, bytes = 0;
    for (uint32_t i = 0; i < compaction->count; i++) {
        const struct hk_block_info *info = hk_block_info(compaction->inputs[i]->block);
        ids[i] = info->id;
        order = info->order > order ? info->order : order;
        bytes += info->bytes;
        level = info->level > level ? info->level : level;
    }
    uint64_t free_bytes = 0, total_bytes = 0;
    if (hk_disk_space(compaction->set->directory, &free_bytes, &total_bytes) == 0 &&
        free_bytes < bytes) {
        return hk_fail(
            HK_E_NOSPACE, "compaction: the output needs up to %llu bytes, %s has %llu free",
            (unsigned long long)bytes, compaction->set->directory, (unsigned long long)free_bytes);
    }
    const struct hk_block_writer_options options = {
        .directory = compaction->set->directory,
        .id = hk_blockset_next_id(compaction->set),
        .order = order,
        .tenant = hk_block_info(compaction->inputs[0]->block)->tenant,
        .level = level,
        .replaces = ids,
        .replaces_count = compaction->count,
    };
    return hk_block_writer_create(&options, &compaction->writer);
}

/* Makes the output durable and visible, then removes the inputs. */
static hk_err publish_output(struct compaction *compaction) {
    struct hk_blockset *set = compaction->set;
    struct hk_block *inputs[HK_BLOCKSET_INPUTS_MAX];
    for (uint32_t i = 0; i < compaction->count; i++)
        inputs[i] = compaction->inputs[i]->block;
    struct hk_block_info output;
    HK_TRY(hk_blockset_commit(set, compaction->writer, inputs, compaction->count, &output));
    uint64_t removed[HK_BLOCKSET_INPUTS_MAX], bytes_in = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < compaction->count; i++) {
        const struct hk_block_info *info = hk_block_info(inputs[i]);
        bytes_in += info->bytes;
        if (compaction->inputs[i]->damaged) {
            (void)hk_fail(HK_E_CORRUPT, "block %s: damaged, kept aside", hk_block_path(inputs[i]));
            hk_blockset_quarantine(set, inputs[i]);
        } else {
            removed[count++] = info->id;
        }
    }
    hk_blockset_remove_files(set, removed, count);
    hk_mutex_lock(&set->lock);
    set->stats.compactions++;
    set->stats.compacted_bytes_in += bytes_in;
    set->stats.compacted_bytes_out += output.bytes;
    set->stats.overwritten += compaction->overwritten;
    hk_mutex_unlock(&set->lock);
    return HK_OK;
}

/* A page that cannot be read stops the merge: put its block aside, so that the next try goes on. */
static void quarantine_broken(struct compaction *compaction) {
    for (uint32_t i = 0; i < compaction->count; i++) {
        const struct input *input = compaction->inputs[i];
        if (strstr(hk_fail_text(), hk_block_path(input->block)) == NULL) continue;
        hk_blockset_quarantine(compaction->set, input->block);
        return;
    }
    hk_blockset_note_problem(compaction->set);
}

static hk_err
run(struct compaction *compaction, struct hk_block *const *blocks, uint32_t count, uint32_t level) {
    for (int i = 0; i < HK_BLOCK_COLUMNS; i++) {
        compaction->outputs[i].column = (enum hk_block_column)i;
        hk_buf_init(&compaction->outputs[i].bytes, HK_BLOCK_CHUNK_BYTES_MAX * 2UL);
    }
    for (; compaction->count < count; compaction->count++)
        HK_TRY(input_create(blocks[compaction->count], &compaction->inputs[compaction->count]));
    HK_TRY(create_output(compaction, level));
    hk_err err = merge_all(compaction);
    if (err == HK_E_CORRUPT) quarantine_broken(compaction);
    HK_TRY(err);
    return publish_output(compaction);
}

static hk_err compact(struct hk_blockset *set, int64_t now_ms, const _Atomic bool *cancel) {
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(set);
    struct hk_block *blocks[HK_BLOCKSET_INPUTS_MAX];
    uint32_t level = 0;
    const uint32_t count = hk_blockset_plan(set, snapshot, now_ms, blocks, &level);
    hk_err err = HK_OK;
    if (count > 0) {
        struct compaction *compaction = hk_mem_alloc(1, sizeof(*compaction));
        err = no_memory();
        if (compaction != NULL) {
            compaction->set = set;
            compaction->cancel = cancel;
            err = run(compaction, blocks, count, level);
            hk_block_writer_destroy(compaction->writer);
            for (uint32_t i = 0; i < compaction->count; i++)
                input_destroy(compaction->inputs[i]);
            for (int i = 0; i < HK_BLOCK_COLUMNS; i++)
                hk_buf_deinit(&compaction->outputs[i].bytes);
            hk_mem_free(compaction);
        }
        if (err == HK_OK) err = HK_MORE;
        hk_mutex_lock(&set->lock);
        set->stats.compaction_failures += err < 0 && err != HK_E_CANCELED;
        hk_mutex_unlock(&set->lock);
    }
    hk_blockset_snapshot_unref(snapshot);
    return err;
}

hk_err
hk_blockset_compact_step(struct hk_blockset *set, int64_t now_ms, const _Atomic bool *cancel) {
    if (atomic_exchange_explicit(&set->maintaining, true, memory_order_acquire)) return HK_E_BUSY;
    /* Invariant (2) of blockset.c: first the removals of the merge before. */
    hk_err err = hk_blockset_remove_doomed(set)
                     ? compact(set, now_ms, cancel)
                     : hk_fail(HK_E_IO, "replaced blocks in %s cannot be removed", set->directory);
    atomic_store_explicit(&set->maintaining, false, memory_order_release);
    return err;
}
