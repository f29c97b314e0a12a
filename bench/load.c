/*
 * Load generator: pre-encodes remote-write 1.0 bodies over series shaped as node_exporter's, sends
 * them over keep-alive connections and reads the server's CPU time from the kernel's accounting.
 * usage: bench_load PORT PATH PID SERIES ROUNDS CONNECTIONS ordered|shuffled
 *        [AGE]: the round after the last would be stamped AGE seconds before now, default 0
 */
#include "base/mem.h"
#include "bodies.h"
#include "os/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY_SAMPLES = 2000 };

static struct bench_body *bodies;
static size_t body_count;
static void
encode(uint32_t series, uint32_t rounds, bool shuffled, int64_t end_ms, const char *path) {
    uint32_t *order = hk_mem_alloc(series, sizeof(uint32_t));
    bodies = hk_mem_alloc((size_t)(series / BODY_SAMPLES + 1) * rounds, sizeof(*bodies));
    if (order == NULL || bodies == NULL) abort();
    for (uint32_t i = 0; i < series; i++)
        order[i] = i;
    int64_t start_ms = end_ms - (int64_t)rounds * 15000;
    struct hk_buf raw;
    hk_buf_init(&raw, 1U << 30);
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = series - 1; shuffled && i > 0; i--) {
            uint32_t other = (uint32_t)(bench_random() % (i + 1));
            uint32_t swap = order[i];
            order[i] = order[other];
            order[other] = swap;
        }
        for (uint32_t i = 0; i < series; i++) {
            bench_put_series(&raw, order[i], round, start_ms + (int64_t)round * 15000);
            if ((i + 1) % BODY_SAMPLES != 0 && i + 1 != series) continue;
            bodies[body_count++] = bench_pack(&raw, path);
            hk_buf_clear(&raw);
        }
    }
    hk_buf_deinit(&raw);
    hk_mem_free(order);
}

/* User and system seconds of a process. */
static double cpu_seconds(int pid) {
    char path[64];
    char text[1024] = { 0 };
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    size_t got = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    const char *at = got > 0 ? strrchr(text, ')') : NULL;
    unsigned long user = 0;
    unsigned long system_time = 0;
    if (at == NULL) return 0;
    if (sscanf(
            at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system_time) !=
        2) {
        return 0;
    }
    return (double)(user + system_time) / (double)sysconf(_SC_CLK_TCK);
}

static int connect_to(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
        perror("connect");
        exit(1);
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void send_all(int fd, const struct bench_body *body) {
    for (size_t done = 0; done < body->count;) {
        ssize_t put = send(fd, body->bytes + done, body->count - done, MSG_NOSIGNAL);
        if (put <= 0) {
            perror("send");
            exit(1);
        }
        done += (size_t)put;
    }
}

/* Status of one answer without a body of interest. */
static int read_status(int fd) {
    char text[4096];
    size_t used = 0;
    while (used < sizeof(text) - 1) {
        ssize_t got = recv(fd, text + used, sizeof(text) - 1 - used, 0);
        if (got <= 0) return 0;
        used += (size_t)got;
        text[used] = 0;
        if (strstr(text, "\r\n\r\n") != NULL) break;
    }
    int status = 0;
    return sscanf(text, "HTTP/1.1 %d", &status) == 1 ? status : 0;
}

int main(int argc, char **argv) {
    if (argc != 8 && argc != 9) {
        (void)fprintf(
            stderr, "usage: bench_load PORT PATH PID SERIES ROUNDS CONNECTIONS ORDER [AGE]\n");
        return 2;
    }
    uint32_t series = (uint32_t)strtoul(argv[4], NULL, 10);
    uint32_t rounds = (uint32_t)strtoul(argv[5], NULL, 10);
    size_t connections = strtoul(argv[6], NULL, 10);
    int pid = (int)strtol(argv[3], NULL, 10);
    int64_t age_ms = argc == 9 ? strtol(argv[8], NULL, 10) * 1000 : 0;
    int64_t end_ms = hk_clock_realtime_ms() - age_ms;
    encode(series, rounds, strcmp(argv[7], "shuffled") == 0, end_ms, argv[2]);
    int fds[64];
    if (connections == 0 || connections > HK_COUNT(fds)) return 2;
    for (size_t i = 0; i < connections; i++) {
        fds[i] = connect_to((uint16_t)strtoul(argv[1], NULL, 10));
    }
    uint64_t refused = 0;
    double cpu_before = cpu_seconds(pid);
    int64_t start_ns = hk_clock_monotonic_ns();
    /* Each connection has one request on its way: the next is sent when the answer is read. */
    for (size_t i = 0; i < body_count + connections; i++) {
        int fd = fds[i % connections];
        if (i >= connections) {
            int status = read_status(fd);
            if (status == 503) { /* sealing does not keep up: the same body again */
                hk_sleep_ns(5000000);
                send_all(fd, &bodies[i - connections]);
                status = read_status(fd);
            }
            refused += status < 200 || status > 299;
        }
        if (i < body_count) send_all(fd, &bodies[i]);
    }
    double seconds = (double)(hk_clock_monotonic_ns() - start_ns) / 1e9;
    double cpu = cpu_seconds(pid) - cpu_before;
    double samples = (double)series * rounds;
    (void)printf(
        "{\"samples\":%.0f,\"seconds\":%.3f,\"cpu_seconds\":%.3f,\"samples_per_cpu_second\":%.0f,"
        "\"samples_per_second\":%.0f,\"refused\":%llu}\n",
        samples, seconds, cpu, cpu > 0 ? samples / cpu : 0, samples / seconds,
        (unsigned long long)refused);
    return refused > 0 ? 1 : 0;
}
