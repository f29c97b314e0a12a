/*
 * Keyed hashes, and CRC-32C (SSE4.2 or ARMv8 instruction where the machine has it, tables else).
 *
 * hk_hash128 of 16 to PRODUCTS_BYTES_MAX bytes takes, where the machine multiplies polynomials over
 * GF(2), two sums of products (a_i + k_2i)(b_i + k_2i+1) in GF(2^64), each with a key of its own,
 * a_i and b_i being the message's words and its length the last of them. Two given messages agree
 * in one sum with a chance of 2^-64 over the keys, in both with 2^-128. Elsewhere it is XXH3: the
 * values differ between machines, and no one sees them.
 */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <immintrin.h>
#endif

static unsigned char hash_secret[XXH3_SECRET_DEFAULT_SIZE] = { 0 };
static bool hash_secret_set;

enum { PRODUCTS_BYTES_MAX = 1024 };

/* The last block of each key is for the length. */
static _Alignas(16) uint64_t product_keys[2][PRODUCTS_BYTES_MAX / 8 + 4];

void hk_hash_set_key(const void *random, size_t bytes) {
    hk_assert(bytes >= 32);
    const unsigned char *seed = random;
    /* Stretch the key: each 8 secret bytes are a hash of the key with a counter. */
    for (size_t i = 0; i < sizeof(hash_secret) / 8; i++) {
        uint64_t word = XXH3_64bits_withSeed(seed, bytes, i * 0x9e3779b97f4a7c15ULL + 1);
        memcpy(hash_secret + i * 8, &word, 8);
    }
    for (size_t i = 0; i < HK_COUNT(product_keys[0]) * 2; i++) {
        const uint64_t salt = (i + 1) * 0xd6e8feb86659fd93ULL;
        product_keys[i % 2][i / 2] =
            XXH3_64bits_withSecret(&salt, sizeof(salt), hash_secret, sizeof(hash_secret));
    }
    hash_secret_set = true;
}

static void need_key(void) {
    if (HK_LIKELY(hash_secret_set)) return;
    static const unsigned char fixed[32] = "hark tests run with a fixed key";
    hk_hash_set_key(fixed, sizeof(fixed));
}

uint64_t hk_hash64(const void *data, size_t bytes) {
    need_key();
    return XXH3_64bits_withSecret(data, bytes, hash_secret, sizeof(hash_secret));
}

#if defined(__x86_64__) && !defined(HK_SIMD_NONE)
#define WITH_PRODUCTS __attribute__((target("pclmul,sse4.1")))

static bool have_products(void) {
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

WITH_PRODUCTS static inline __m128i product(__m128i block, const uint64_t *key) {
    block = _mm_xor_si128(block, _mm_load_si128((const __m128i *)(const void *)key));
    return _mm_clmulepi64_si128(block, block, 0x01);
}

/* Remainder modulo x^64 + x^4 + x^3 + x + 1. */
WITH_PRODUCTS static inline uint64_t reduce(__m128i sum) {
    const __m128i polynomial = _mm_set_epi64x(0, 27);
    __m128i high = _mm_clmulepi64_si128(sum, polynomial, 0x01);
    __m128i rest = _mm_clmulepi64_si128(high, polynomial, 0x01);
    sum = _mm_xor_si128(sum, _mm_xor_si128(high, rest));
    return (uint64_t)_mm_cvtsi128_si64(sum);
}

/* Of 16 to PRODUCTS_BYTES_MAX bytes; the last block overlaps the one before. */
WITH_PRODUCTS static struct hk_hash128 hash_products(const uint8_t *at, size_t bytes) {
    const uint64_t *low_key = product_keys[0], *high_key = product_keys[1];
    const __m128i length = _mm_set_epi64x(0, (long long)bytes);
    __m128i low = product(length, low_key + PRODUCTS_BYTES_MAX / 8 + 2);
    __m128i high = product(length, high_key + PRODUCTS_BYTES_MAX / 8 + 2);
    const size_t last = bytes - 16;
    for (size_t i = 0; i < last; i += 16) {
        const __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(at + i));
        low = _mm_xor_si128(low, product(block, low_key + i / 8));
        high = _mm_xor_si128(high, product(block, high_key + i / 8));
    }
    const __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(at + last));
    low = _mm_xor_si128(low, product(block, low_key + PRODUCTS_BYTES_MAX / 8));
    high = _mm_xor_si128(high, product(block, high_key + PRODUCTS_BYTES_MAX / 8));
    return (struct hk_hash128){ reduce(low), reduce(high) };
}
#else
static bool have_products(void) {
    return false;
}

static struct hk_hash128 hash_products(const uint8_t *at, size_t bytes) {
    (void)at;
    (void)bytes;
    return (struct hk_hash128){ 0 };
}
#endif

struct hk_hash128 hk_hash128(const void *data, size_t bytes) {
    need_key();
    if (HK_LIKELY(bytes >= 16 && bytes <= PRODUCTS_BYTES_MAX && have_products())) {
        return hash_products(data, bytes);
    }
    XXH128_hash_t hash = XXH3_128bits_withSecret(data, bytes, hash_secret, sizeof(hash_secret));
    return (struct hk_hash128){ hash.low64, hash.high64 };
}

static uint64_t spread(uint64_t x) {
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ULL;
    x ^= x >> 32;
    return x;
}

struct hk_hash128 hk_hash_mix(struct hk_hash128 context, struct hk_hash128 part) {
    return (struct hk_hash128){
        spread(context.low * 0x9e3779b97f4a7c15ULL + part.low),
        spread(context.high * 0xc2b2ae3d27d4eb4fULL + part.high),
    };
}

static uint32_t crc_table[8][256];

static uint32_t crc_portable(uint32_t crc, const unsigned char *at, size_t bytes) {
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word = 0;
        memcpy(&word, at, 8);
        word ^= crc;
        crc = 0;
        for (unsigned i = 0; i < 8; i++)
            crc ^= crc_table[7 - i][(word >> (8 * i)) & 255];
    }
    for (; bytes > 0; bytes--, at++)
        crc = (crc >> 8) ^ crc_table[0][(crc ^ *at) & 255];
    return crc;
}

__attribute__((constructor)) static void crc_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
        crc_table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (unsigned k = 1; k < 8; k++) {
            crc_table[k][i] = (crc_table[k - 1][i] >> 8) ^ crc_table[0][crc_table[k - 1][i] & 255];
        }
    }
}

#if defined(__x86_64__) && !defined(HK_SIMD_NONE)
__attribute__((target("sse4.2"))) static uint32_t
crc_fast(uint32_t crc, const unsigned char *at, size_t bytes) {
    uint64_t wide = crc;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word = 0;
        memcpy(&word, at, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; bytes > 0; bytes--, at++)
        crc = __builtin_ia32_crc32qi(crc, *at);
    return crc;
}

static bool have_crc(void) {
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__) && !defined(HK_SIMD_NONE)
__attribute__((target("+crc"))) static uint32_t
crc_fast(uint32_t crc, const unsigned char *at, size_t bytes) {
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word = 0;
        memcpy(&word, at, 8);
        crc = __builtin_aarch64_crc32cx(crc, word);
    }
    for (; bytes > 0; bytes--, at++)
        crc = __builtin_aarch64_crc32cb(crc, *at);
    return crc;
}

static bool have_crc(void) {
    return (getauxval(AT_HWCAP) & (1UL << 7)) != 0; /* HWCAP_CRC32 */
}
#else
static uint32_t crc_fast(uint32_t crc, const unsigned char *at, size_t bytes) {
    return crc_portable(crc, at, bytes);
}

static bool have_crc(void) {
    return false;
}
#endif

uint32_t hk_crc32c(uint32_t crc, const void *data, size_t bytes) {
    const unsigned char *at = data;
    crc = ~crc;
    crc = have_crc() ? crc_fast(crc, at, bytes) : crc_portable(crc, at, bytes);
    return ~crc;
}
