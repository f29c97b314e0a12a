/* How HTTP clients connect (Prometheus' http_config), relabelling, and supported discovery. */
#include "conf/table.h"

static const char *const tls_versions[] = { "", "TLS10", "TLS11", "TLS12", "TLS13", NULL };

#define NO_SECRET_STORE LATER("hark has no secret store; use the key that ends in _file")

#define T               struct hk_conf_tls_client
static const struct hk_option tls_options[] = {
    STRING("ca", ca, .help = "Certificates to trust, as PEM text"),
    STRING("cert", cert, .help = "Client certificate, as PEM text"),
    SECRET("key", key, .help = "Key of the client certificate, as PEM text"),
    FILENAME("ca_file", ca_file, .help = "File with the certificates to trust"),
    FILENAME("cert_file", cert_file, .help = "File with the client certificate"),
    FILENAME("key_file", key_file, .help = "File with the key of the client certificate"),
    UNSTORED(STRING, "ca_ref", .help = "Name of a secret with the certificates", NO_SECRET_STORE),
    UNSTORED(STRING, "cert_ref", .help = "Name of a secret with the certificate", NO_SECRET_STORE),
    UNSTORED(STRING, "key_ref", .help = "Name of a secret with the key", NO_SECRET_STORE),
    STRING(
        "server_name", server_name,
        .help = "Name that the server's certificate must carry, when not the one of the URL"),
    BOOL(
        "insecure_skip_verify", insecure_skip_verify, .fallback = "false",
        .help = "Accept any certificate"),
    ENUM(
        "min_version", min_version, .choices = tls_versions, .fallback = "",
        .fallback_text = "TLS12", .help = "Lowest TLS version to speak"),
    ENUM(
        "max_version", max_version, .choices = tls_versions, .fallback = "",
        .fallback_text = "TLS13", .help = "Highest TLS version to speak"),
};
const struct hk_option_table hk_table_tls_client = {
    .name = "tls_config",
    .summary = "TLS of an outgoing connection.",
    ROWS(tls_options),
    .bytes = sizeof(T),
    .check = hk_check_tls_client,
};
#undef T

#define T struct hk_conf_basic_auth
static const struct hk_option basic_auth_options[] = {
    STRING("username", username, .help = "User name"),
    FILENAME("username_file", username_file, .help = "File with the user name"),
    UNSTORED(STRING, "username_ref", .help = "Name of a secret", NO_SECRET_STORE),
    SECRET("password", password, .help = "Password"),
    FILENAME("password_file", password_file, .help = "File with the password, read anew when used"),
    UNSTORED(STRING, "password_ref", .help = "Name of a secret", NO_SECRET_STORE),
};
static const struct hk_option_table basic_auth_table = {
    .name = "basic_auth",
    .summary = "User name and password (RFC 7617).",
    ROWS(basic_auth_options),
    .bytes = sizeof(T),
    .check = hk_check_basic_auth,
};
#undef T

#define T struct hk_conf_authorization
static const struct hk_option authorization_options[] = {
    STRING("type", type, .fallback = "Bearer", .help = "First word of the Authorization header"),
    SECRET("credentials", credentials, .help = "What follows it"),
    FILENAME("credentials_file", credentials_file, .help = "File with it, read anew when used"),
    UNSTORED(STRING, "credentials_ref", .help = "Name of a secret", NO_SECRET_STORE),
};
static const struct hk_option_table authorization_table = {
    .name = "authorization",
    .summary = "The Authorization header of each request.",
    ROWS(authorization_options),
    .bytes = sizeof(T),
    .check = hk_check_authorization,
};
#undef T

#define T struct hk_conf_oauth2
static const struct hk_option oauth2_options[] = {
    STRING("client_id", client_id, .help = "Name of this client"),
    SECRET("client_secret", client_secret, .help = "Its secret"),
    FILENAME("client_secret_file", client_secret_file, .help = "File with its secret"),
    UNSTORED(STRING, "client_secret_ref", .help = "Name of a secret", NO_SECRET_STORE),
    STRINGS("scopes", scopes, .help = "Scopes to ask for"),
    STRING("token_url", token_url, .help = "Where to get the token"),
    MAP("endpoint_params", endpoint_params, .flags = HK_OPTION_HIDE,
        .help = "Parameters to add to the token URL"),
    STRUCT("tls_config", tls, hk_table_tls_client, .help = "TLS to the token URL"),
    UNSTORED(STRING, "proxy_url", .help = "Proxy to the token URL"),
    UNSTORED(STRING, "no_proxy", .help = "Hosts to reach without the proxy"),
    UNSTORED(BOOL, "proxy_from_environment", .help = "Take the proxy from the environment"),
    UNSTORED(
        PARAMS, "proxy_connect_header", .flags = HK_OPTION_HIDE, .help = "Headers for the proxy"),
};
static const struct hk_option_table oauth2_table = {
    .name = "oauth2",
    .summary = "OAuth 2.0 client credentials (RFC 6749 §4.4).",
    ROWS(oauth2_options),
    .bytes = sizeof(T),
};
#undef T

#define T struct hk_conf_header
static const struct hk_option header_options[] = {
    STRINGS("values", values, .help = "Values of the header"),
    SECRETS("secrets", secrets, .help = "Values that are never shown"),
    FILENAMES("files", files, .help = "Files whose contents are values"),
};
static const struct hk_option_table header_table = {
    .name = "http_header",
    .summary = "One header of http_headers.",
    ROWS(header_options),
    .bytes = sizeof(T),
};
#undef T

#define T struct hk_conf_http
static const struct hk_option http_options[] = {
    OPTIONAL("basic_auth", basic_auth, basic_auth_table, .help = "Log in by name and password"),
    OPTIONAL("authorization", authorization, authorization_table, .help = "Authorization header"),
    OPTIONAL(
        "oauth2", oauth2, oauth2_table, .help = "Log in by OAuth 2.0",
        LATER("requests are sent without a token")),
    SECRET("bearer_token", bearer_token, .help = "Old form of authorization.credentials"),
    FILENAME(
        "bearer_token_file", bearer_token_file,
        .help = "Old form of authorization.credentials_file"),
    STRUCT("tls_config", tls, hk_table_tls_client, .help = "TLS"),
    BOOL("follow_redirects", follow_redirects, .fallback = "true", .help = "Follow HTTP redirects"),
    BOOL("enable_http2", enable_http2, .fallback = "true", .help = "Speak HTTP/2 where offered"),
    STRING("proxy_url", proxy_url, .help = "Proxy to go through"),
    STRING(
        "no_proxy", no_proxy,
        .help = "Hosts, domains and networks to reach without the proxy, separated by commas"),
    BOOL(
        "proxy_from_environment", proxy_from_environment, .fallback = "false",
        .help = "Take the proxy from HTTP_PROXY, HTTPS_PROXY and NO_PROXY"),
    PARAMS(
        "proxy_connect_header", proxy_connect_header, .flags = HK_OPTION_HIDE,
        .help = "Headers to send to the proxy"),
    NAMED("http_headers", headers, header_table, .help = "Headers to add, by name"),
};
const struct hk_option_table hk_table_http = {
    .name = "http_config",
    .summary = "How an HTTP client connects and logs in. Where another mapping says so, these keys "
               "stand directly in it.",
    ROWS(http_options),
    .bytes = sizeof(T),
    .check = hk_check_http,
};
#undef T

static const char *const relabel_actions[] = {
    "replace",  "keep",      "drop",      "keepequal", "dropequal", "hashmod",
    "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase", NULL,
};

#define T struct hk_conf_relabel
static const struct hk_option relabel_options[] = {
    STRINGS(
        "source_labels", source_labels, .flags = HK_OPTION_RAW,
        .help = "Labels whose values are joined and matched"),
    STRING(
        "separator", separator, .flags = HK_OPTION_RAW, .fallback = ";",
        .help = "What stands between the joined values"),
    STRING(
        "regex", regex, .flags = HK_OPTION_RAW, .fallback = "(.*)",
        .help = "Regular expression (RE2) for the whole of the joined values"),
    INT("modulus", modulus, RANGE(0, INT64_MAX), .help = "Divisor of hashmod"),
    STRING(
        "target_label", target_label, .flags = HK_OPTION_RAW,
        .help = "Label to write; replace may use $1 and ${name} here"),
    STRING(
        "replacement", replacement, .flags = HK_OPTION_RAW, .fallback = "$1",
        .help = "Value to write, with $1 or ${name} for groups of the regex"),
    ENUM(
        "action", action, .choices = relabel_actions, .fallback = "replace",
        .help = "What to do with the match"),
};
const struct hk_option_table hk_table_relabel = {
    .name = "relabel_config",
    .summary = "One step of relabelling; steps run in order. No ${…} substitution here.",
    ROWS(relabel_options),
    .bytes = sizeof(T),
    .check = hk_check_relabel,
};
#undef T

#define T struct hk_conf_static
static const struct hk_option static_options[] = {
    STRINGS("targets", targets, .help = "Addresses, host:port"),
    LABELS("labels", labels, .help = "Labels of all these targets"),
};
const struct hk_option_table hk_table_static = {
    .name = "static_config",
    .summary = "Targets that are written here.",
    ROWS(static_options),
    .bytes = sizeof(T),
    .check = hk_check_static,
};
#undef T

#define T struct hk_conf_file_sd
static const struct hk_option file_sd_options[] = {
    FILENAMES(
        "files", files, .flags = HK_OPTION_REQUIRED,
        .help = "Patterns of files with target groups: .json, .yml, .yaml"),
    DURATION(
        "refresh_interval", refresh_ms, .fallback = "5m", RANGE(1, INT64_MAX),
        .help = "How often to read them again, besides at each change"),
};
static const struct hk_option_table file_sd_table = {
    .name = "file_sd_config",
    .summary = "Targets from files.",
    ROWS(file_sd_options),
    .bytes = sizeof(T),
    .check = hk_check_file_sd,
};
#undef T

#define T struct hk_conf_http_sd
static const struct hk_option http_sd_options[] = {
    URL("url", url, .flags = HK_OPTION_REQUIRED, .help = "Where to ask for target groups"),
    DURATION(
        "refresh_interval", refresh_ms, .fallback = "1m", RANGE(1, INT64_MAX),
        .help = "How often to ask"),
    INLINE(http, hk_table_http),
};
static const struct hk_option_table http_sd_table = {
    .name = "http_sd_config",
    .summary = "Targets from an HTTP server that answers target groups as JSON.",
    ROWS(http_sd_options),
    .bytes = sizeof(T),
};
#undef T

static const char *const dns_types[] = { "SRV", "A", "AAAA", "MX", "NS", NULL };

#define T struct hk_conf_dns_sd
static const struct hk_option dns_sd_options[] = {
    STRINGS("names", names, .flags = HK_OPTION_REQUIRED, .help = "Names to look up"),
    ENUM("type", type, .choices = dns_types, .fallback = "SRV", .help = "Kind of record"),
    INT("port", port, RANGE(0, 65535), .help = "Port, where the record has none; not for SRV"),
    DURATION(
        "refresh_interval", refresh_ms, .fallback = "30s", RANGE(1, INT64_MAX),
        .help = "How often to look up"),
};
static const struct hk_option_table dns_sd_table = {
    .name = "dns_sd_config",
    .summary = "Targets from DNS.",
    ROWS(dns_sd_options),
    .bytes = sizeof(T),
    .check = hk_check_dns_sd,
};
#undef T

#define NOT_YET(KEY, TABLE, WHAT)                                                                  \
    UNSTORED(                                                                                      \
        STRUCTS, KEY, .table = &(TABLE), .help = "Targets from " WHAT,                             \
        LATER("targets found this way are missing"))

#define T struct hk_conf_discovery
static const struct hk_option discovery_options[] = {
    STRUCTS("static_configs", statics, hk_table_static, .help = "Targets written here"),
    STRUCTS("file_sd_configs", files, file_sd_table, .help = "Targets from files"),
    STRUCTS("http_sd_configs", https, http_sd_table, .help = "Targets from an HTTP server"),
    STRUCTS("dns_sd_configs", dns, dns_sd_table, .help = "Targets from DNS"),
    NOT_YET("azure_sd_configs", hk_table_azure_sd, "Azure virtual machines"),
    NOT_YET("consul_sd_configs", hk_table_consul_sd, "Consul's catalog"),
    NOT_YET("digitalocean_sd_configs", hk_table_digitalocean_sd, "DigitalOcean droplets"),
    NOT_YET("docker_sd_configs", hk_table_docker_sd, "Docker containers"),
    NOT_YET("dockerswarm_sd_configs", hk_table_dockerswarm_sd, "Docker Swarm"),
    NOT_YET("ec2_sd_configs", hk_table_ec2_sd, "AWS EC2 instances"),
    NOT_YET("eureka_sd_configs", hk_table_eureka_sd, "Eureka"),
    NOT_YET("gce_sd_configs", hk_table_gce_sd, "Google Compute Engine"),
    NOT_YET("hetzner_sd_configs", hk_table_hetzner_sd, "Hetzner Cloud and Robot"),
    NOT_YET("ionos_sd_configs", hk_table_ionos_sd, "IONOS Cloud"),
    NOT_YET("kubernetes_sd_configs", hk_table_kubernetes_sd, "Kubernetes"),
    NOT_YET("kuma_sd_configs", hk_table_kuma_sd, "a Kuma mesh"),
    NOT_YET("lightsail_sd_configs", hk_table_lightsail_sd, "AWS Lightsail instances"),
    NOT_YET("linode_sd_configs", hk_table_linode_sd, "Linode instances"),
    NOT_YET("marathon_sd_configs", hk_table_marathon_sd, "Marathon"),
    NOT_YET("nerve_sd_configs", hk_table_nerve_sd, "Nerve in ZooKeeper"),
    NOT_YET("nomad_sd_configs", hk_table_nomad_sd, "Nomad services"),
    NOT_YET("openstack_sd_configs", hk_table_openstack_sd, "OpenStack Nova"),
    NOT_YET("ovhcloud_sd_configs", hk_table_ovhcloud_sd, "OVHcloud"),
    NOT_YET("puppetdb_sd_configs", hk_table_puppetdb_sd, "PuppetDB"),
    NOT_YET("scaleway_sd_configs", hk_table_scaleway_sd, "Scaleway"),
    NOT_YET("serverset_sd_configs", hk_table_serverset_sd, "server sets in ZooKeeper"),
    NOT_YET("stackit_sd_configs", hk_table_stackit_sd, "STACKIT"),
    NOT_YET("triton_sd_configs", hk_table_triton_sd, "Triton"),
    NOT_YET("uyuni_sd_configs", hk_table_uyuni_sd, "Uyuni"),
    NOT_YET("vultr_sd_configs", hk_table_vultr_sd, "Vultr"),
};
const struct hk_option_table hk_table_discovery = {
    .name = "discovery",
    .summary = "Where targets come from; these keys stand directly in the mapping that says so.",
    ROWS(discovery_options),
    .bytes = sizeof(T),
    .check = hk_check_discovery,
};
#undef T
