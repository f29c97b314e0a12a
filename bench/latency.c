/*
 * Latency of an alert under load: one spinning thread sends background bodies on one connection, a
 * crossing sample on another, and is the webhook's receiver as well. Measured from before the
 * crossing's send() until recv() returned the last byte of its notification.
 * usage: bench_latency WEBHOOK_PORT PORT_FILE CROSSINGS BODIES_PER_SECOND
 * Listens on WEBHOOK_PORT first, then waits for the server's port file.
 */
#include "base/mem.h"
#include "bodies.h"
#include "os/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BODY_SAMPLES = 2000,
    BACKGROUND_SERIES = 100000,
    HOOKS_MAX = 16,
    HOOK_BYTES = 65536,
    ROUND_MS = 100,    /* between two crossings, and up to JITTER_MS more */
    JITTER_MS = 20,    /* so that crossings meet every phase of the background */
    PATIENCE_MS = 3000 /* a crossing without a notification counts as lost */
};

/* One connection of the server to the webhook. */
struct hook {
    int fd;
    size_t used;
    char bytes[HOOK_BYTES];
};

/* A connection that sends requests and reads answers without blocking. */
struct sender {
    int fd;
    struct bench_body body;
    size_t done;
    bool waiting; /* for the answer */
    uint64_t answers;
    uint64_t refused;
};

static struct hook hooks[HOOKS_MAX];
static size_t hook_count;
static int listener;
static uint64_t other_notifications;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void listen_on(uint16_t port) {
    int on = 1;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (const struct sockaddr *)&at, sizeof(at)) < 0) fail("bind");
    if (listen(listener, HOOKS_MAX) < 0) fail("listen");
}

/* Port named "http" of the port file, waiting up to a minute for it. */
static uint16_t http_port(const char *path) {
    for (int tries = 0; tries < 6000; tries++) {
        char text[512] = { 0 };
        FILE *file = fopen(path, "r");
        if (file != NULL) {
            size_t got = fread(text, 1, sizeof(text) - 1, file);
            (void)fclose(file);
            const char *at = got > 0 ? strstr(text, "\"http\":") : NULL;
            if (at != NULL && strchr(text, '}') != NULL)
                return (uint16_t)strtoul(at + strlen("\"http\":"), NULL, 10);
        }
        hk_sleep_ns(10000000);
    }
    (void)fprintf(stderr, "%s: no port after 60 s\n", path);
    exit(1);
}

static int connect_to(uint16_t port) {
    int on = 1;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0) fail("connect");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void start(struct sender *one, struct bench_body body) {
    one->body = body;
    one->done = 0;
    one->waiting = true;
}

/* Sends what the socket takes and reads an answer when there is one. */
static void step(struct sender *one) {
    if (!one->waiting) return;
    if (one->done < one->body.count) {
        ssize_t put = send(
            one->fd, one->body.bytes + one->done, one->body.count - one->done,
            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno != EAGAIN) fail("send");
        if (put > 0) one->done += (size_t)put;
        return;
    }
    char text[4096];
    ssize_t got = recv(one->fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    if (got == 0) fail("the server closed a connection");
    if (got < 0) return;
    text[got] = 0;
    one->answers++;
    one->refused += strncmp(text, "HTTP/1.1 2", 10) != 0;
    one->waiting = false;
}

/* Takes a whole request from the hook; true when it tells of crossing `number`. */
static bool take_request(struct hook *hook, size_t number) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    char *end = memmem(hook->bytes, hook->used, "\r\n\r\n", 4);
    if (end == NULL) return false;
    *end = 0;
    const char *length = strcasestr(hook->bytes, "\ncontent-length:");
    size_t body = length == NULL ? 0 : strtoul(length + strlen("\ncontent-length:"), NULL, 10);
    size_t head = (size_t)(end - hook->bytes) + 4;
    if (hook->used < head + body) {
        *end = '\r';
        return false;
    }
    char wanted[32];
    int count = snprintf(wanted, sizeof(wanted), "\"n-%zu\"", number);
    bool found = memmem(hook->bytes + head, body, wanted, (size_t)count) != NULL;
    other_notifications += !found;
    hook->used -= head + body;
    memmove(hook->bytes, hook->bytes + head + body, hook->used);
    if (send(hook->fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0) fail("answer");
    return found;
}

/* True when a notification of crossing `number` came; `*at_ns` is when its recv() returned. */
static bool receive(size_t number, int64_t *at_ns) {
    bool found = false;
    for (size_t i = 0; i < hook_count; i++) {
        struct hook *hook = &hooks[i];
        if (hook->fd < 0) continue;
        ssize_t got =
            recv(hook->fd, hook->bytes + hook->used, HOOK_BYTES - hook->used, MSG_DONTWAIT);
        if (got < 0) continue;
        *at_ns = found ? *at_ns : hk_clock_monotonic_ns();
        if (got == 0) {
            (void)close(hook->fd);
            hook->fd = -1;
            continue;
        }
        hook->used += (size_t)got;
        while (hook->used > 0) {
            size_t before = hook->used;
            if (take_request(hook, number)) found = true;
            if (hook->used == before) break;
        }
    }
    return found;
}

static void accept_hooks(void) {
    int on = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    if (hook_count == HOOKS_MAX) fail("too many webhook connections");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    hooks[hook_count++].fd = fd;
}

static struct bench_body crossing(size_t number) {
    char text[32];
    struct hk_buf raw;
    struct hk_buf one;
    hk_buf_init(&raw, 4096);
    hk_buf_init(&one, 4096);
    (void)snprintf(text, sizeof(text), "n-%zu", number);
    bench_put_label(&one, "__name__", "crossing");
    bench_put_label(&one, "instance", text);
    bench_put_label(&one, "job", "bench");
    bench_put_sample(&one, 101, hk_clock_realtime_ms());
    bench_put_entry(&raw, &one);
    struct bench_body body = bench_pack(&raw, "/api/v1/write");
    hk_buf_deinit(&one);
    hk_buf_deinit(&raw);
    return body;
}

static struct bench_body *background(size_t bodies, int64_t period_ms) {
    struct bench_body *all = hk_mem_alloc(bodies + 1, sizeof(*all));
    struct hk_buf raw;
    if (all == NULL) abort();
    hk_buf_init(&raw, 1U << 30);
    int64_t start_ms = hk_clock_realtime_ms();
    for (size_t i = 0; i < bodies; i++) {
        for (uint32_t k = 0; k < BODY_SAMPLES; k++) {
            uint32_t series = (uint32_t)((i * BODY_SAMPLES + k) % BACKGROUND_SERIES);
            uint32_t round = (uint32_t)(i * BODY_SAMPLES / BACKGROUND_SERIES);
            bench_put_series(&raw, series, round, start_ms + (int64_t)i * period_ms);
        }
        all[i] = bench_pack(&raw, "/api/v1/write");
        hk_buf_clear(&raw);
    }
    hk_buf_deinit(&raw);
    return all;
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

struct run {
    struct bench_body *bodies;
    size_t body_count, body_at;
    int64_t period_ns, next_body_ns;
    uint64_t late; /* bodies whose turn came while the one before was unanswered */
    struct sender loads;
    struct sender cross;
};

/* Spins until `until_ns`, or until the notification of `number` came, and gives its time or 0. */
static int64_t spin(struct run *run, size_t number, int64_t until_ns, bool wanted) {
    for (;;) {
        int64_t now_ns = hk_clock_monotonic_ns();
        int64_t came_ns = 0;
        if (now_ns >= until_ns) return 0;
        if (receive(number, &came_ns) && wanted) return came_ns;
        accept_hooks();
        step(&run->cross);
        if (now_ns >= run->next_body_ns && run->body_at < run->body_count) {
            if (run->loads.waiting) {
                run->late++;
            } else {
                start(&run->loads, run->bodies[run->body_at++]);
            }
            run->next_body_ns += run->period_ns;
        }
        step(&run->loads);
    }
}

int main(int argc, char **argv) {
    if (argc != 5) {
        (void)fprintf(stderr, "usage: bench_latency WEBHOOK_PORT PORT_FILE CROSSINGS BODIES\n");
        return 2;
    }
    size_t crossings = strtoul(argv[3], NULL, 10);
    size_t rate = strtoul(argv[4], NULL, 10);
    if (crossings == 0 || crossings > 100000 || rate == 0 || rate > 1000) return 2;
    listen_on((uint16_t)strtoul(argv[1], NULL, 10));
    uint16_t port = http_port(argv[2]);
    struct run run = { .period_ns = 1000000000 / (int64_t)rate };
    /* The first second only warms up: it registers the background's series. */
    run.body_count = rate * (2 + crossings * (ROUND_MS + JITTER_MS) / 1000);
    run.bodies = background(run.body_count, run.period_ns / 1000000);
    int64_t *took_ns = hk_mem_alloc(crossings, sizeof(*took_ns));
    if (took_ns == NULL) abort();
    run.loads.fd = connect_to(port);
    run.cross.fd = connect_to(port);
    run.next_body_ns = hk_clock_monotonic_ns();
    (void)spin(&run, SIZE_MAX, run.next_body_ns + 1200000000, false);
    size_t got = 0;
    for (size_t i = 0; i < crossings; i++) {
        int64_t pause_ms = ROUND_MS + (int64_t)(bench_random() % JITTER_MS);
        (void)spin(&run, SIZE_MAX, hk_clock_monotonic_ns() + pause_ms * 1000000, false);
        if (run.cross.waiting) continue;
        struct bench_body body = crossing(i);
        int64_t before_ns = hk_clock_monotonic_ns();
        start(&run.cross, body);
        step(&run.cross);
        int64_t came_ns = spin(&run, i, before_ns + PATIENCE_MS * 1000000LL, true);
        if (came_ns > 0) took_ns[got++] = came_ns - before_ns;
    }
    if (got == 0) {
        (void)fprintf(stderr, "no notification came\n");
        return 1;
    }
    qsort(took_ns, got, sizeof(*took_ns), compare);
    (void)printf(
        "{\"crossings\":%zu,\"notified\":%zu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,"
        "\"max_us\":%.1f,\"other_notifications\":%llu,\"background_bodies\":%llu,"
        "\"background_late\":%llu,\"refused\":%llu}\n",
        crossings, got, (double)took_ns[got / 2] / 1e3, (double)took_ns[got * 9 / 10] / 1e3,
        (double)took_ns[got * 99 / 100] / 1e3, (double)took_ns[got - 1] / 1e3,
        (unsigned long long)other_notifications, (unsigned long long)run.loads.answers,
        (unsigned long long)run.late, (unsigned long long)(run.loads.refused + run.cross.refused));
    return got < crossings;
}
