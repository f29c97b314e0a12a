/* An Alertmanager's configuration, with hark's own exec_configs beside the webhooks. */
#include "conf/table.h"

#define NOTIFIER      LATER("alerts for this receiver do not go this way")
#define UNUSED_GLOBAL LATER("only receivers that hark does not act on use it")

#define T             struct hk_conf_webhook
static const struct hk_option webhook_options[] = {
    SECRET("url", url, .help = "Where to POST alerts, as Alertmanager's webhook version 4"),
    FILENAME("url_file", url_file, .help = "File with the URL"),
    BOOL("send_resolved", send_resolved, .fallback = "true", .help = "Also tell when it is over"),
    INT("max_alerts", alerts_max, RANGE(0, 1000000), .unit = "alerts",
        .help = "Most alerts of one message; 0 = all"),
    DURATION(
        "timeout", timeout_ms, .fallback = "0s", RANGE(0, 3600000),
        .help = "Longest request; 0 = 10s"),
    OPTIONAL(
        "http_config", http, hk_table_http, .fallback_text = "global.http_config",
        .help = "How to connect and log in"),
    UNSTORED(
        ANY, "payload", .help = "A body of one's own",
        LATER("the body is Alertmanager's version 4")),
};
static const struct hk_option_table webhook_table = {
    .name = "webhook_config",
    .summary = "An HTTP request for each notification.",
    ROWS(webhook_options),
    .bytes = sizeof(T),
    .check = hk_check_webhook,
};
#undef T

#define T struct hk_conf_exec
static const struct hk_option exec_options[] = {
    STRINGS(
        "command", command, .flags = HK_OPTION_REQUIRED,
        .help = "Absolute path and arguments; no shell takes part. The alert stands in the "
                "environment and as JSON on standard input"),
    MAP("env", env, .help = "Variables to add to the environment"),
    DURATION(
        "timeout", timeout_ms, .fallback = "30s", RANGE(1, 86400000),
        .help = "The command is ended after this time"),
    BOOL(
        "send_resolved", send_resolved, .fallback = "false",
        .help = "Also run it when the alert is over"),
    INT("max_concurrency", concurrency_max, .fallback = "4", RANGE(1, 256), .unit = "commands",
        .help = "Most runs at a time; up to 256 more wait, others are refused"),
};
static const struct hk_option_table exec_table = {
    .name = "exec_config",
    .summary = "A command for each notification; hark's own.",
    ROWS(exec_options),
    .bytes = sizeof(T),
    .check = hk_check_exec,
};
#undef T

#define KIND(KEY, WHAT) UNSTORED(ANY, KEY, .help = (WHAT), NOTIFIER)

#define T               struct hk_conf_receiver
static const struct hk_option receiver_options[] = {
    STRING("name", name, .flags = HK_OPTION_REQUIRED, .help = "Name that routes use; unique"),
    UNSTORED(MAP, "labels", .help = "Labels of the receiver", LATER("they are not used")),
    STRUCTS("webhook_configs", webhooks, webhook_table, .help = "HTTP requests"),
    STRUCTS("exec_configs", execs, exec_table, .help = "Commands; hark's own"),
    KIND("discord_configs", "Discord"),
    KIND("email_configs", "Mail"),
    KIND("incidentio_configs", "incident.io"),
    KIND("jira_configs", "Jira"),
    KIND("mattermost_configs", "Mattermost"),
    KIND("msteams_configs", "Microsoft Teams, old connectors"),
    KIND("msteamsv2_configs", "Microsoft Teams"),
    KIND("opsgenie_configs", "Opsgenie"),
    KIND("pagerduty_configs", "PagerDuty"),
    KIND("pushover_configs", "Pushover"),
    KIND("rocketchat_configs", "Rocket.Chat"),
    KIND("slack_configs", "Slack"),
    KIND("sns_configs", "AWS SNS"),
    KIND("telegram_configs", "Telegram"),
    KIND("victorops_configs", "VictorOps"),
    KIND("webex_configs", "Webex"),
    KIND("wechat_configs", "WeChat"),
};
static const struct hk_option_table receiver_table = {
    .name = "receiver",
    .summary = "Where notifications go.",
    ROWS(receiver_options),
    .bytes = sizeof(T),
    .check = hk_check_receiver,
};
#undef T

#define T struct hk_conf_route
static const struct hk_option_table route_table;
static const struct hk_option route_options[] = {
    STRING(
        "receiver", receiver, .fallback_text = "as the outer route",
        .help = "Name of the receiver"),
    STRINGS(
        "group_by", group_by, .fallback_text = "as the outer route",
        .help = "Labels whose values make a group; '...' = every alert alone"),
    STRINGS(
        "matchers", matchers, .help = "Alerts that this route takes: name=\"value\", =~, !=, !~"),
    MAP("match", match, .help = "Old form of matchers: label and value"),
    MAP("match_re", match_re, .help = "Old form of matchers: label and regular expression"),
    BOOL(
        "continue", continue_matching, .fallback = "false",
        .help = "Also look at the routes after this one"),
    DURATION(
        "group_wait", group_wait_ms, .fallback_text = "30s, or as the outer route",
        RANGE(0, INT64_MAX), .help = "Wait for more alerts of a new group; 0s = tell at once"),
    DURATION(
        "group_interval", group_interval_ms, .fallback_text = "5m, or as the outer route",
        RANGE(0, INT64_MAX), .help = "Wait between messages of a group"),
    DURATION(
        "repeat_interval", repeat_interval_ms, .fallback_text = "4h, or as the outer route",
        RANGE(0, INT64_MAX), .help = "Say again what still fires"),
    STRINGS(
        "mute_time_intervals", mute_time_intervals, .help = "Silent at these times",
        LATER("notifications are sent at all times")),
    STRINGS(
        "active_time_intervals", active_time_intervals, .help = "Silent at all other times",
        LATER("notifications are sent at all times")),
    UNSTORED(MAP, "labels", .help = "Labels of the route", LATER("they are not used")),
    STRUCTS(
        "routes", routes, route_table, .help = "Inner routes; the first that matches is taken",
        LATER("every alert takes the outermost route")),
};
static const struct hk_option_table route_table = {
    .name = "route",
    .summary = "Which alerts go to which receiver, grouped how.",
    ROWS(route_options),
    .bytes = sizeof(T),
    .check = hk_check_route,
};
#undef T

static const struct hk_option inhibit_options[] = {
    UNSTORED(STRING, "name", .help = "Name"),
    UNSTORED(MAP, "source_match", .help = "Old form of source_matchers"),
    UNSTORED(MAP, "source_match_re", .help = "Old form of source_matchers"),
    UNSTORED(STRINGS, "source_matchers", .help = "Alerts that silence others"),
    UNSTORED(ANY, "sources", .help = "Several kinds of such alerts", LATER("it has no effect")),
    UNSTORED(MAP, "target_match", .help = "Old form of target_matchers"),
    UNSTORED(MAP, "target_match_re", .help = "Old form of target_matchers"),
    UNSTORED(STRINGS, "target_matchers", .help = "Alerts that are silenced"),
    UNSTORED(STRINGS, "equal", .help = "Labels that must be equal in both"),
};
static const struct hk_option_table inhibit_table = {
    .name = "inhibit_rule",
    .summary = "Alerts that silence other alerts.",
    ROWS(inhibit_options),
};

#define G(TYPE, KEY, HELP) UNSTORED(TYPE, KEY, .help = (HELP), UNUSED_GLOBAL)

#define T                  struct hk_conf_alertmanager
static const struct hk_option am_global_options[] = {
    DURATION(
        "resolve_timeout", resolve_timeout_ms, .fallback = "5m", RANGE(1, INT64_MAX),
        .help = "An alert that is not heard of for so long is over"),
    STRUCT("http_config", http, hk_table_http, .help = "How webhooks connect and log in"),
    G(STRING, "smtp_from", "Mail: sender"),
    G(STRING, "smtp_hello", "Mail: own name"),
    G(STRING, "smtp_smarthost", "Mail: server"),
    G(STRING, "smtp_auth_username", "Mail: user"),
    G(SECRET, "smtp_auth_password", "Mail: password"),
    G(STRING, "smtp_auth_password_file", "Mail: file with the password"),
    G(SECRET, "smtp_auth_secret", "Mail: secret"),
    G(STRING, "smtp_auth_secret_file", "Mail: file with the secret"),
    G(STRING, "smtp_auth_identity", "Mail: identity"),
    G(BOOL, "smtp_require_tls", "Mail: only with TLS"),
    UNSTORED(
        OPTIONAL, "smtp_tls_config", .table = &hk_table_tls_client, .help = "Mail: TLS",
        UNUSED_GLOBAL),
    G(BOOL, "smtp_force_implicit_tls", "Mail: TLS from the first byte"),
    G(SECRET, "slack_api_url", "Slack: URL"),
    G(STRING, "slack_api_url_file", "Slack: file with the URL"),
    G(SECRET, "slack_app_token", "Slack: token"),
    G(STRING, "slack_app_token_file", "Slack: file with the token"),
    G(STRING, "slack_app_url", "Slack: URL of the API"),
    G(STRING, "pagerduty_url", "PagerDuty: URL"),
    G(STRING, "opsgenie_api_url", "Opsgenie: URL"),
    G(SECRET, "opsgenie_api_key", "Opsgenie: key"),
    G(STRING, "opsgenie_api_key_file", "Opsgenie: file with the key"),
    G(STRING, "wechat_api_url", "WeChat: URL"),
    G(SECRET, "wechat_api_secret", "WeChat: secret"),
    G(STRING, "wechat_api_secret_file", "WeChat: file with the secret"),
    G(STRING, "wechat_api_corp_id", "WeChat: corporation"),
    G(STRING, "victorops_api_url", "VictorOps: URL"),
    G(SECRET, "victorops_api_key", "VictorOps: key"),
    G(STRING, "victorops_api_key_file", "VictorOps: file with the key"),
    G(STRING, "telegram_api_url", "Telegram: URL"),
    G(SECRET, "telegram_bot_token", "Telegram: token"),
    G(STRING, "telegram_bot_token_file", "Telegram: file with the token"),
    G(STRING, "webex_api_url", "Webex: URL"),
    G(STRING, "jira_api_url", "Jira: URL"),
    G(STRING, "rocketchat_api_url", "Rocket.Chat: URL"),
    G(SECRET, "rocketchat_token", "Rocket.Chat: token"),
    G(STRING, "rocketchat_token_file", "Rocket.Chat: file with the token"),
    G(SECRET, "rocketchat_token_id", "Rocket.Chat: id of the token"),
    G(STRING, "rocketchat_token_id_file", "Rocket.Chat: file with the id"),
    G(SECRET, "mattermost_webhook_url", "Mattermost: URL"),
    G(STRING, "mattermost_webhook_url_file", "Mattermost: file with the URL"),
};
static const struct hk_option_table am_global_table = {
    .name = "alertmanager_global",
    .summary = "Defaults of receivers.",
    ROWS(am_global_options),
    .bytes = sizeof(T),
};

static const struct hk_option alertmanager_options[] = {
    STRUCT("global", resolve_timeout_ms, am_global_table, .help = "Defaults of receivers"),
    STRUCT("route", route, route_table, .flags = HK_OPTION_REQUIRED, .help = "The outermost route"),
    STRUCTS("receivers", receivers, receiver_table, .help = "Where notifications go"),
    FILENAMES(
        "templates", templates, .help = "Patterns of files with templates",
        LATER("they are not used")),
    UNSTORED(
        STRUCTS, "inhibit_rules", .table = &inhibit_table, .help = "Alerts that silence others",
        LATER("no alert silences another")),
    UNSTORED(
        ANY, "mute_time_intervals", .help = "Old form of time_intervals",
        LATER("notifications are sent at all times")),
    UNSTORED(
        ANY, "time_intervals", .help = "Times by name",
        LATER("notifications are sent at all times")),
    UNSTORED(ANY, "tracing", .help = "Traces of the Alertmanager", LATER("hark traces nothing")),
    UNSTORED(ANY, "event_recorder", .help = "Record of events", LATER("no events are recorded")),
};
const struct hk_option_table hk_table_alertmanager = {
    .name = "alertmanager",
    .summary = "Routing of alerts and actions inside of hark, written as Alertmanager's "
               "configuration.",
    ROWS(alertmanager_options),
    .bytes = sizeof(T),
    .check = hk_check_alertmanager,
};
#undef T
