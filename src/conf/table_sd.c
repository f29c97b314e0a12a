/*
 * Service discoveries of Prometheus 3.5 that hark knows but does not act on yet. Keys and types are
 * checked, so that a slip is found before the day they act; nothing is stored.
 */
#include "conf/table.h"

#define OPT(TYPE, KEY, HELP)  UNSTORED(TYPE, KEY, .help = (HELP))
#define MUST(TYPE, KEY, HELP) UNSTORED(TYPE, KEY, .help = (HELP), .flags = HK_OPTION_REQUIRED)
#define REFRESH(DEFAULT)                                                                           \
    UNSTORED(DURATION, "refresh_interval", .help = "How often to ask", .fallback = (DEFAULT))
#define PORT(DEFAULT)                                                                              \
    UNSTORED(INT, "port", .help = "Port to scrape", .fallback = (DEFAULT), RANGE(0, 65535))
#define HTTP                                                                                       \
    { .type = HK_OPTION_INLINE, .offset = HK_OPTION_NOT_STORED, .table = &hk_table_http }
#define NESTED_LIST(KEY, TABLE, HELP) UNSTORED(STRUCTS, KEY, .table = &(TABLE), .help = (HELP))
#define NESTED_ONE(KEY, TABLE, HELP)  UNSTORED(OPTIONAL, KEY, .table = &(TABLE), .help = (HELP))
#define TABLE(ID, NAME, SUMMARY)                                                                   \
    const struct hk_option_table hk_table_##ID = { .name = (NAME), .summary = (SUMMARY), ROWS(ID) }

static const struct hk_option filter_rows[] = {
    OPT(STRING, "name", "Name of the filter"),
    OPT(STRINGS, "values", "Values to accept"),
};
static const struct hk_option_table filter_table = {
    .name = "sd_filter",
    .summary = "A filter of a service discovery.",
    ROWS(filter_rows),
};

static const struct hk_option azure_sd[] = {
    OPT(STRING, "environment", "Azure environment"),
    OPT(STRING, "authentication_method", "OAuth, ManagedIdentity or SDK"),
    MUST(STRING, "subscription_id", "Subscription"),
    OPT(STRING, "tenant_id", "Tenant, for OAuth"),
    OPT(STRING, "client_id", "Client, for OAuth"),
    OPT(SECRET, "client_secret", "Its secret, for OAuth"),
    OPT(STRING, "resource_group", "Only machines of this group"),
    REFRESH("5m"),
    PORT("80"),
    HTTP,
};
TABLE(azure_sd, "azure_sd_config", "Azure virtual machines.");

static const struct hk_option consul_sd[] = {
    OPT(STRING, "server", "Address of the Consul server"),
    OPT(STRING, "path_prefix", "Path before the API"),
    OPT(SECRET, "token", "Access token"),
    OPT(STRING, "datacenter", "Datacenter"),
    OPT(STRING, "namespace", "Namespace"),
    OPT(STRING, "partition", "Admin partition"),
    OPT(STRING, "tag_separator", "What stands between tags"),
    OPT(STRING, "scheme", "http or https"),
    OPT(STRING, "username", "Old form of basic_auth"),
    OPT(SECRET, "password", "Old form of basic_auth"),
    OPT(BOOL, "allow_stale", "Accept answers of followers"),
    OPT(STRINGS, "services", "Only these services"),
    OPT(STRINGS, "tags", "Only services with all these tags"),
    OPT(MAP, "node_meta", "Only nodes with these values"),
    OPT(STRING, "filter", "Filter expression of the catalog"),
    REFRESH("30s"),
    HTTP,
};
TABLE(consul_sd, "consul_sd_config", "Services of Consul's catalog.");

static const struct hk_option digitalocean_sd[] = { PORT("80"), REFRESH("1m"), HTTP };
TABLE(digitalocean_sd, "digitalocean_sd_config", "DigitalOcean droplets.");

static const struct hk_option docker_sd[] = {
    MUST(STRING, "host", "Address of the Docker daemon"),
    OPT(STRING, "host_networking_host", "Host name of containers in the host's network"),
    OPT(BOOL, "match_first_network", "Use only the first network of a container"),
    NESTED_LIST("filters", filter_table, "Which containers"),
    PORT("80"),
    REFRESH("1m"),
    HTTP,
};
TABLE(docker_sd, "docker_sd_config", "Docker containers.");

static const struct hk_option dockerswarm_sd[] = {
    MUST(STRING, "host", "Address of the Docker daemon"),
    MUST(STRING, "role", "services, tasks or nodes"),
    NESTED_LIST("filters", filter_table, "Which of them"),
    PORT("80"),
    REFRESH("1m"),
    HTTP,
};
TABLE(dockerswarm_sd, "dockerswarm_sd_config", "Docker Swarm services, tasks or nodes.");

static const struct hk_option ec2_sd[] = {
    OPT(STRING, "region", "AWS region"),
    OPT(STRING, "endpoint", "Another endpoint"),
    OPT(STRING, "access_key", "Access key"),
    OPT(SECRET, "secret_key", "Secret key"),
    OPT(STRING, "profile", "Profile of the AWS configuration"),
    OPT(STRING, "role_arn", "Role to take"),
    NESTED_LIST("filters", filter_table, "Which instances"),
    PORT("80"),
    REFRESH("1m"),
    HTTP,
};
TABLE(ec2_sd, "ec2_sd_config", "AWS EC2 instances.");

static const struct hk_option eureka_sd[] = {
    MUST(STRING, "server", "URL of the Eureka server"),
    REFRESH("30s"),
    HTTP,
};
TABLE(eureka_sd, "eureka_sd_config", "Applications of a Eureka server.");

static const struct hk_option gce_sd[] = {
    MUST(STRING, "project", "Project"),
    MUST(STRING, "zone", "Zone"),
    OPT(STRING, "filter", "Filter expression"),
    OPT(STRING, "tag_separator", "What stands between tags"),
    PORT("80"),
    REFRESH("1m"),
};
TABLE(gce_sd, "gce_sd_config", "Google Compute Engine instances.");

static const struct hk_option hetzner_sd[] = {
    MUST(STRING, "role", "hcloud or robot"),
    OPT(STRING, "label_selector", "Which servers, for hcloud"),
    PORT("80"),
    REFRESH("1m"),
    HTTP,
};
TABLE(hetzner_sd, "hetzner_sd_config", "Hetzner Cloud and Robot servers.");

static const struct hk_option ionos_sd[] = {
    MUST(STRING, "datacenter_id", "Data center"),
    PORT("80"),
    REFRESH("1m"),
    HTTP,
};
TABLE(ionos_sd, "ionos_sd_config", "IONOS Cloud servers.");

static const struct hk_option namespaces_rows[] = {
    OPT(BOOL, "own_namespace", "Also hark's own"),
    OPT(STRINGS, "names", "These namespaces"),
};
static const struct hk_option_table namespaces_table = {
    .name = "kubernetes_namespaces",
    .summary = "Which namespaces to look at.",
    ROWS(namespaces_rows),
};
static const struct hk_option selector_rows[] = {
    OPT(STRING, "role", "Role that it is for"),
    OPT(STRING, "label", "Label selector"),
    OPT(STRING, "field", "Field selector"),
};
static const struct hk_option_table selector_table = {
    .name = "kubernetes_selector",
    .summary = "Which objects to look at.",
    ROWS(selector_rows),
};
static const struct hk_option attach_rows[] = {
    OPT(BOOL, "node", "Labels of the node"),
    OPT(BOOL, "namespace", "Labels of the namespace"),
    OPT(BOOL, "deployment", "Name of the deployment"),
    OPT(BOOL, "cronjob", "Name of the cron job"),
    OPT(BOOL, "job", "Name of the job"),
};
static const struct hk_option_table attach_table = {
    .name = "kubernetes_attach_metadata",
    .summary = "What to add to targets.",
    ROWS(attach_rows),
};
static const struct hk_option kubernetes_sd[] = {
    OPT(STRING, "api_server", "Address of the API server; empty inside of a cluster"),
    MUST(STRING, "role", "node, service, pod, endpoints, endpointslice or ingress"),
    OPT(FILE, "kubeconfig_file", "kubeconfig file, in place of api_server"),
    NESTED_ONE("namespaces", namespaces_table, "Which namespaces"),
    NESTED_LIST("selectors", selector_table, "Which objects"),
    NESTED_ONE("attach_metadata", attach_table, "What to add to targets"),
    HTTP,
};
TABLE(kubernetes_sd, "kubernetes_sd_config", "Objects of a Kubernetes cluster.");

static const struct hk_option kuma_sd[] = {
    MUST(STRING, "server", "Address of the control plane"),
    OPT(STRING, "client_id", "Name of this client"),
    UNSTORED(DURATION, "fetch_timeout", .help = "Longest wait for an answer", .fallback = "2m"),
    REFRESH("30s"),
    HTTP,
};
TABLE(kuma_sd, "kuma_sd_config", "A Kuma mesh.");

static const struct hk_option lightsail_sd[] = {
    OPT(STRING, "region", "AWS region"),
    OPT(STRING, "endpoint", "Another endpoint"),
    OPT(STRING, "access_key", "Access key"),
    OPT(SECRET, "secret_key", "Secret key"),
    OPT(STRING, "profile", "Profile of the AWS configuration"),
    OPT(STRING, "role_arn", "Role to take"),
    PORT("80"),
    REFRESH("1m"),
    HTTP,
};
TABLE(lightsail_sd, "lightsail_sd_config", "AWS Lightsail instances.");

static const struct hk_option linode_sd[] = {
    OPT(STRING, "region", "Region"),
    OPT(STRING, "tag_separator", "What stands between tags"),
    PORT("80"),
    REFRESH("1m"),
    HTTP,
};
TABLE(linode_sd, "linode_sd_config", "Linode instances.");

static const struct hk_option marathon_sd[] = {
    MUST(STRINGS, "servers", "URLs of Marathon servers"),
    OPT(SECRET, "auth_token", "Token"),
    OPT(FILE, "auth_token_file", "File with the token"),
    REFRESH("30s"),
    HTTP,
};
TABLE(marathon_sd, "marathon_sd_config", "Marathon applications.");

static const struct hk_option nerve_sd[] = {
    MUST(STRINGS, "servers", "ZooKeeper servers"),
    MUST(STRINGS, "paths", "Paths of services"),
    UNSTORED(DURATION, "timeout", .help = "Timeout of the session", .fallback = "10s"),
};
TABLE(nerve_sd, "nerve_sd_config", "Nerve services in ZooKeeper.");

static const struct hk_option nomad_sd[] = {
    OPT(BOOL, "allow_stale", "Accept answers of followers"),
    OPT(STRING, "namespace", "Namespace"),
    OPT(STRING, "region", "Region"),
    OPT(STRING, "server", "Address of the Nomad server"),
    OPT(STRING, "tag_separator", "What stands between tags"),
    REFRESH("1m"),
    HTTP,
};
TABLE(nomad_sd, "nomad_sd_config", "Nomad services.");

static const struct hk_option openstack_sd[] = {
    MUST(STRING, "role", "hypervisor, instance or loadbalancer"),
    MUST(STRING, "region", "Region"),
    OPT(STRING, "identity_endpoint", "URL of Keystone"),
    OPT(STRING, "username", "User name"),
    OPT(STRING, "userid", "User id"),
    OPT(SECRET, "password", "Password"),
    OPT(STRING, "domain_name", "Domain name"),
    OPT(STRING, "domain_id", "Domain id"),
    OPT(STRING, "project_name", "Project name"),
    OPT(STRING, "project_id", "Project id"),
    OPT(STRING, "application_credential_name", "Application credential, by name"),
    OPT(STRING, "application_credential_id", "Application credential, by id"),
    OPT(SECRET, "application_credential_secret", "Its secret"),
    OPT(BOOL, "all_tenants", "Look at all projects"),
    OPT(STRING, "availability", "public, admin or internal endpoint"),
    PORT("80"),
    REFRESH("1m"),
    NESTED_ONE("tls_config", hk_table_tls_client, "TLS"),
};
TABLE(openstack_sd, "openstack_sd_config", "OpenStack Nova.");

static const struct hk_option ovhcloud_sd[] = {
    MUST(STRING, "application_key", "Application key"),
    MUST(SECRET, "application_secret", "Application secret"),
    MUST(SECRET, "consumer_key", "Consumer key"),
    MUST(STRING, "service", "vps or dedicated_server"),
    OPT(STRING, "endpoint", "API endpoint"),
    REFRESH("1m"),
};
TABLE(ovhcloud_sd, "ovhcloud_sd_config", "OVHcloud servers.");

static const struct hk_option puppetdb_sd[] = {
    MUST(STRING, "url", "URL of PuppetDB"),
    MUST(STRING, "query", "PQL query for resources"),
    OPT(BOOL, "include_parameters", "Show parameters as meta labels"),
    PORT("80"),
    REFRESH("1m"),
    HTTP,
};
TABLE(puppetdb_sd, "puppetdb_sd_config", "Resources of PuppetDB.");

static const struct hk_option scaleway_sd[] = {
    MUST(STRING, "access_key", "Access key"),
    OPT(SECRET, "secret_key", "Secret key"),
    OPT(FILE, "secret_key_file", "File with the secret key"),
    MUST(STRING, "project_id", "Project"),
    MUST(STRING, "role", "instance or baremetal"),
    OPT(STRING, "api_url", "Another API URL"),
    OPT(STRING, "zone", "Zone"),
    OPT(STRING, "name_filter", "Part of the name"),
    OPT(STRINGS, "tags_filter", "Only servers with all these tags"),
    PORT("80"),
    REFRESH("1m"),
    HTTP,
};
TABLE(scaleway_sd, "scaleway_sd_config", "Scaleway servers.");

static const struct hk_option serverset_sd[] = {
    MUST(STRINGS, "servers", "ZooKeeper servers"),
    MUST(STRINGS, "paths", "Paths of server sets"),
    UNSTORED(DURATION, "timeout", .help = "Timeout of the session", .fallback = "10s"),
};
TABLE(serverset_sd, "serverset_sd_config", "Server sets in ZooKeeper.");

static const struct hk_option stackit_sd[] = {
    MUST(STRING, "project", "Project"),
    OPT(STRING, "region", "Region"),
    OPT(STRING, "endpoint", "Another API endpoint"),
    OPT(SECRET, "service_account_key", "Key of the service account, as JSON"),
    OPT(SECRET, "private_key", "Private key, as PEM"),
    OPT(FILE, "service_account_key_path", "File with the key of the service account"),
    OPT(FILE, "private_key_path", "File with the private key"),
    OPT(FILE, "credentials_file_path", "File with credentials"),
    PORT("80"),
    REFRESH("1m"),
    HTTP,
};
TABLE(stackit_sd, "stackit_sd_config", "STACKIT servers.");

static const struct hk_option triton_sd[] = {
    MUST(STRING, "account", "Account"),
    OPT(STRING, "role", "container or cn"),
    MUST(STRING, "dns_suffix", "Suffix of host names"),
    MUST(STRING, "endpoint", "Discovery endpoint"),
    OPT(STRINGS, "groups", "Only these groups"),
    OPT(INT, "version", "Version of the discovery API"),
    PORT("9163"),
    REFRESH("1m"),
    NESTED_ONE("tls_config", hk_table_tls_client, "TLS"),
};
TABLE(triton_sd, "triton_sd_config", "Triton containers and nodes.");

static const struct hk_option uyuni_sd[] = {
    MUST(STRING, "server", "URL of the Uyuni server"),
    MUST(STRING, "username", "User name"),
    MUST(SECRET, "password", "Password"),
    OPT(STRING, "entitlement", "Which systems"),
    OPT(STRING, "separator", "What stands between group names"),
    REFRESH("1m"),
    HTTP,
};
TABLE(uyuni_sd, "uyuni_sd_config", "Systems that Uyuni manages.");

static const struct hk_option vultr_sd[] = { PORT("80"), REFRESH("1m"), HTTP };
TABLE(vultr_sd, "vultr_sd_config", "Vultr instances.");
