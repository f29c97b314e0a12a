/*
 * Hashes: XXH3 keyed with a random secret per process, so that a sender cannot build collisions
 * (the key never leaves the process), and CRC32C for what is on disk.
 */
#ifndef HK_BASE_HASH_H
#define HK_BASE_HASH_H

#include "base/str.h"

struct hk_hash128 {
    uint64_t low, high;
};

/* Sets the key from `bytes` random bytes (at least 32). Once, before any thread hashes. */
void hk_hash_set_key(const void *random, size_t bytes);

/* Keyed hashes of `bytes` bytes. */
uint64_t hk_hash64(const void *data, size_t bytes);
struct hk_hash128 hk_hash128(const void *data, size_t bytes);

/* Mixes the hash of a part into the hash of its context; order matters. */
struct hk_hash128 hk_hash_mix(struct hk_hash128 context, struct hk_hash128 part);

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4) continued from `crc` (0 at the start). */
uint32_t hk_crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
