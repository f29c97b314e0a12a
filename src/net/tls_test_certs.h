/* For tests: a certificate authority and what it signs, made at run time in a folder of its own. */
#ifndef HK_NET_TLS_TEST_CERTS_H
#define HK_NET_TLS_TEST_CERTS_H

#include "hk_test.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

struct test_certs {
    char dir[32];
    EVP_PKEY *ca_key;
    X509 *ca;
};

static inline void test_cert_path(const struct test_certs *certs, const char *name, char out[64]) {
    (void)snprintf(out, 64, "%.31s/%.20s", certs->dir, name);
}

static inline X509 *test_cert_make(
    struct test_certs *certs, const char *name, const char *san, EVP_PKEY *key, long serial) {
    X509 *cert = X509_new();
    (void)X509_set_version(cert, 2);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    (void)X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    (void)X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    (void)X509_set_pubkey(cert, key);
    (void)X509_NAME_add_entry_by_txt(
        X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    bool self = certs->ca == NULL;
    (void)X509_set_issuer_name(cert, X509_get_subject_name(self ? cert : certs->ca));
    X509V3_CTX context;
    X509V3_set_ctx(&context, self ? cert : certs->ca, cert, NULL, NULL, 0);
    X509_EXTENSION *extension =
        self ? X509V3_EXT_conf_nid(NULL, &context, NID_basic_constraints, "critical,CA:TRUE")
             : X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, san);
    (void)X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    CHECK(X509_sign(cert, self ? key : certs->ca_key, EVP_sha256()) > 0);
    return cert;
}

/* Writes <file>.pem and <file>.key for a certificate with that common name. */
static inline void test_cert_write(
    struct test_certs *certs, const char *file, const char *name, const char *san, long serial) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = test_cert_make(certs, name, san, key, serial);
    char path[64];
    char leaf[20];
    (void)snprintf(leaf, sizeof(leaf), "%.10s.pem", file);
    test_cert_path(certs, leaf, path);
    FILE *out = fopen(path, "w");
    CHECK(out != NULL && PEM_write_X509(out, cert) == 1);
    (void)fclose(out);
    (void)snprintf(leaf, sizeof(leaf), "%.10s.key", file);
    test_cert_path(certs, leaf, path);
    out = fopen(path, "w");
    CHECK(out != NULL && PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1);
    (void)fclose(out);
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* A folder with ca.pem. */
static inline void test_certs_init(struct test_certs *certs) {
    memset(certs, 0, sizeof(*certs));
    (void)snprintf(certs->dir, sizeof(certs->dir), "/tmp/hk_tls_XXXXXX");
    CHECK(mkdtemp(certs->dir) != NULL);
    certs->ca_key = EVP_EC_gen("P-256");
    X509 *ca = test_cert_make(certs, "hark test CA", NULL, certs->ca_key, 1);
    certs->ca = ca;
    char path[64];
    test_cert_path(certs, "ca.pem", path);
    FILE *out = fopen(path, "w");
    CHECK(out != NULL && PEM_write_X509(out, ca) == 1);
    (void)fclose(out);
}

static inline void test_certs_deinit(struct test_certs *certs) {
    static const char *const files[] = { "ca.pem",     "server.pem", "server.key", "client.pem",
                                         "client.key", "other.pem",  "other.key" };
    for (size_t i = 0; i < HK_COUNT(files); i++) {
        char path[64];
        test_cert_path(certs, files[i], path);
        (void)unlink(path);
    }
    CHECK_INT(rmdir(certs->dir), 0);
    X509_free(certs->ca);
    EVP_PKEY_free(certs->ca_key);
}

#endif
