/* Relabelling steps of the configuration to the compiled form that runs. */
#include "conf/config.h"

#include "base/mem.h"

/* A value equal to its default counts as not given. */
static struct hk_str unless_default(struct hk_str text, const char *fallback) {
    struct hk_str none = { NULL, 0 };
    return hk_str_is(text, fallback) ? none : text;
}

void hk_conf_relabel_configs(
    const struct hk_conf_relabel *rules, uint32_t count, struct hk_relabel_config *out) {
    for (uint32_t i = 0; i < count; i++) {
        const struct hk_conf_relabel *rule = &rules[i];
        out[i] = (struct hk_relabel_config){
            .action = (enum hk_relabel_action)rule->action,
            .source_labels = rule->source_labels.items,
            .source_label_count = rule->source_labels.count,
            .separator = unless_default(rule->separator, ";"),
            .regex = unless_default(rule->regex, "(.*)"),
            .target_label = unless_default(rule->target_label, ""),
            .replacement = unless_default(rule->replacement, "$1"),
            .modulus = (uint64_t)rule->modulus,
        };
    }
}

hk_err hk_conf_relabel_compile(
    const struct hk_conf_relabel *rules, uint32_t count, struct hk_relabel **out) {
    HK_CLEANUP(hk_mem_free_at)
    struct hk_relabel_config *configs = hk_mem_alloc((size_t)count + 1, sizeof(*configs));
    if (configs == NULL) return HK_E_NOMEM;
    hk_conf_relabel_configs(rules, count, configs);
    return hk_relabel_create(configs, count, out);
}
