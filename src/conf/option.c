/* What can be said about all tables. */
#include "conf/option.h"

#include "base/err.h"

const char *hk_option_type_name(enum hk_option_type type) {
    static const char *const names[] = {
        [HK_OPTION_BOOL] = "boolean",
        [HK_OPTION_INT] = "whole number",
        [HK_OPTION_DOUBLE] = "number",
        [HK_OPTION_STRING] = "string",
        [HK_OPTION_SECRET] = "secret",
        [HK_OPTION_FILE] = "path",
        [HK_OPTION_URL] = "URL",
        [HK_OPTION_DURATION] = "duration",
        [HK_OPTION_SIZE] = "size",
        [HK_OPTION_ENUM] = "word",
        [HK_OPTION_STRINGS] = "list of strings",
        [HK_OPTION_SECRETS] = "list of secrets",
        [HK_OPTION_FILES] = "list of paths",
        [HK_OPTION_ENUMS] = "list of words",
        [HK_OPTION_LABELS] = "mapping of labels",
        [HK_OPTION_MAP] = "mapping of strings",
        [HK_OPTION_PARAMS] = "mapping of lists",
        [HK_OPTION_INLINE] = "keys of another table",
        [HK_OPTION_STRUCT] = "mapping",
        [HK_OPTION_OPTIONAL] = "mapping",
        [HK_OPTION_STRUCTS] = "list of mappings",
        [HK_OPTION_NAMED] = "mapping of mappings",
        [HK_OPTION_ANY] = "anything",
    };
    return (size_t)type < HK_COUNT(names) ? names[type] : "unknown";
}

size_t hk_option_tables(
    const struct hk_option_table *root, const struct hk_option_table **out, size_t max) {
    size_t count = 0;
    if (max > 0) out[count++] = root;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < out[i]->count; k++) {
            const struct hk_option_table *table = out[i]->options[k].table;
            bool known = table == NULL || count == max;
            for (size_t j = 0; j < count && !known; j++)
                known = out[j] == table;
            if (!known) out[count++] = table;
        }
    }
    return count;
}
