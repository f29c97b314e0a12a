/*
 * How rows of option tables are written. Before a table: `#define T struct hk_conf_…`, the struct
 * that it fills; the C type of each field is checked at compile time. Private to src/conf.
 */
#ifndef HK_CONF_TABLE_H
#define HK_CONF_TABLE_H

#include "conf/config.h"
#include "conf/option.h"
#include "conf/read.h"

#define HK_ROW(KEY, TYPE, CTYPE, FIELD, ...)                                                       \
    {                                                                                              \
        .key = (KEY), .type = HK_OPTION_##TYPE, .offset = HK_OPTION_FIELD(T, FIELD, CTYPE),        \
        __VA_ARGS__                                                                                \
    }

#define BOOL(KEY, FIELD, ...)      HK_ROW(KEY, BOOL, bool, FIELD, __VA_ARGS__)
#define INT(KEY, FIELD, ...)       HK_ROW(KEY, INT, int64_t, FIELD, __VA_ARGS__)
#define DOUBLE(KEY, FIELD, ...)    HK_ROW(KEY, DOUBLE, double, FIELD, __VA_ARGS__)
#define STRING(KEY, FIELD, ...)    HK_ROW(KEY, STRING, struct hk_str, FIELD, __VA_ARGS__)
#define SECRET(KEY, FIELD, ...)    HK_ROW(KEY, SECRET, struct hk_secret, FIELD, __VA_ARGS__)
#define FILENAME(KEY, FIELD, ...)  HK_ROW(KEY, FILE, struct hk_str, FIELD, __VA_ARGS__)
#define URL(KEY, FIELD, ...)       HK_ROW(KEY, URL, struct hk_str, FIELD, __VA_ARGS__)
#define DURATION(KEY, FIELD, ...)  HK_ROW(KEY, DURATION, int64_t, FIELD, __VA_ARGS__)
#define SIZE(KEY, FIELD, ...)      HK_ROW(KEY, SIZE, uint64_t, FIELD, __VA_ARGS__)
#define ENUM(KEY, FIELD, ...)      HK_ROW(KEY, ENUM, int, FIELD, __VA_ARGS__)
#define STRINGS(KEY, FIELD, ...)   HK_ROW(KEY, STRINGS, struct hk_conf_strings, FIELD, __VA_ARGS__)
#define SECRETS(KEY, FIELD, ...)   HK_ROW(KEY, SECRETS, struct hk_conf_secrets, FIELD, __VA_ARGS__)
#define FILENAMES(KEY, FIELD, ...) HK_ROW(KEY, FILES, struct hk_conf_strings, FIELD, __VA_ARGS__)
#define ENUMS(KEY, FIELD, ...)     HK_ROW(KEY, ENUMS, struct hk_conf_enums, FIELD, __VA_ARGS__)
#define LABELS(KEY, FIELD, ...)    HK_ROW(KEY, LABELS, struct hk_labels, FIELD, __VA_ARGS__)
#define MAP(KEY, FIELD, ...)       HK_ROW(KEY, MAP, struct hk_labels, FIELD, __VA_ARGS__)
#define PARAMS(KEY, FIELD, ...)    HK_ROW(KEY, PARAMS, struct hk_conf_params, FIELD, __VA_ARGS__)

/* Nested structs: `TABLE` without &; the field's type must be the struct that the table fills. */
#define NESTED(KEY, TYPE, FIELD, TABLE, ...)                                                       \
    {                                                                                              \
        .key = (KEY), .type = HK_OPTION_##TYPE, .offset = offsetof(T, FIELD), .table = &(TABLE),   \
        __VA_ARGS__                                                                                \
    }
#define INLINE(FIELD, TABLE)      NESTED(NULL, INLINE, FIELD, TABLE, .help = NULL)
#define STRUCT(KEY, FIELD, ...)   NESTED(KEY, STRUCT, FIELD, __VA_ARGS__)
#define OPTIONAL(KEY, FIELD, ...) NESTED(KEY, OPTIONAL, FIELD, __VA_ARGS__)
#define STRUCTS(KEY, FIELD, ...)  NESTED(KEY, STRUCTS, FIELD, __VA_ARGS__)
#define NAMED(KEY, FIELD, ...)    NESTED(KEY, NAMED, FIELD, __VA_ARGS__)

/* Checked but not stored. */
#define UNSTORED(TYPE, KEY, ...)                                                                   \
    { .key = (KEY), .type = HK_OPTION_##TYPE, .offset = HK_OPTION_NOT_STORED, __VA_ARGS__ }

/* Known, not acted on yet. */
#define LATER(CONSEQUENCE) .status = HK_OPTION_LATER, .consequence = (CONSEQUENCE)

#define RANGE(MIN, MAX)    .min = (MIN), .max = (MAX)

/* Rows of the key and of the table's own struct. */
#define ROWS(array) .options = (array), .count = sizeof(array) / sizeof((array)[0])

/* Tables that others refer to. */
extern const struct hk_option_table hk_table_http;
extern const struct hk_option_table hk_table_tls_client;
extern const struct hk_option_table hk_table_relabel;
extern const struct hk_option_table hk_table_discovery;
extern const struct hk_option_table hk_table_static;
extern const struct hk_option_table hk_table_scrape_config;
extern const struct hk_option_table hk_table_scrape_config_file;
extern const struct hk_option_table hk_table_global;
extern const struct hk_option_table hk_table_alerting;
extern const struct hk_option_table hk_table_remote_write;
extern const struct hk_option_table hk_table_remote_read;
extern const struct hk_option_table hk_table_otlp;
extern const struct hk_option_table hk_table_sigv4;
extern const struct hk_option_table hk_table_host_metrics;
extern const struct hk_option_table hk_table_server;
extern const struct hk_option_table hk_table_limits;
extern const struct hk_option_table hk_table_statsd;
extern const struct hk_option_table hk_table_influx;
extern const struct hk_option_table hk_table_pushgateway;

/* Service discoveries that hark does not act on yet: table_sd.c. */
extern const struct hk_option_table hk_table_azure_sd, hk_table_consul_sd, hk_table_digitalocean_sd,
    hk_table_docker_sd, hk_table_dockerswarm_sd, hk_table_ec2_sd, hk_table_eureka_sd,
    hk_table_gce_sd, hk_table_hetzner_sd, hk_table_ionos_sd, hk_table_kubernetes_sd,
    hk_table_kuma_sd, hk_table_lightsail_sd, hk_table_linode_sd, hk_table_marathon_sd,
    hk_table_nerve_sd, hk_table_nomad_sd, hk_table_openstack_sd, hk_table_ovhcloud_sd,
    hk_table_puppetdb_sd, hk_table_scaleway_sd, hk_table_serverset_sd, hk_table_stackit_sd,
    hk_table_triton_sd, hk_table_uyuni_sd, hk_table_vultr_sd;

/* Checks of table rows that name them: check.c. */
void hk_check_http(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_basic_auth(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_authorization(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_tls_client(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_relabel(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_discovery(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_static(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_file_sd(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_dns_sd(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_global(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_job(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_otlp(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_server(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_server_tls(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_statsd(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_config(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_alertmanager(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_route(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_receiver(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_webhook(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_exec(struct hk_conf_reader *, const struct hk_conf_node *, void *object);

/* Checks of rule files: rules.c. */
void hk_check_rule(struct hk_conf_reader *, const struct hk_conf_node *, void *object);
void hk_check_rule_group(struct hk_conf_reader *, const struct hk_conf_node *, void *object);

#endif
