/* Rule files' expressions and templates, checked by the languages themselves. Thread-safe. */
#ifndef HK_ENGINE_RULE_CHECKS_H
#define HK_ENGINE_RULE_CHECKS_H

#include "conf/rules.h"

/* Checks for hk_rules_load: PromQL by lang/promql.h, templates by lang/template.h. Static. */
const struct hk_rule_checks *hk_engine_rule_checks(void);

#endif
