/* Goal: timers fire in order, tasks of many senders arrive once and in order, descriptors wake
 * the loop, and what was unwatched is never called again. */
#include "net/loop.h"

#include "hk_test.h"
#include "os/clock.h"
#include "os/thread.h"

#include <sys/socket.h>
#include <unistd.h>

enum { TIMERS = 200 };

struct clockwork {
    struct hk_timer timer;
    struct hk_loop *loop;
    int64_t wanted_ns;
};

static int64_t fired_last_ns;
static unsigned fired, fired_early, fired_disorder;

static void count_fire(struct hk_timer *timer) {
    struct clockwork *clockwork = (struct clockwork *)timer;
    fired++;
    fired_early += hk_loop_now_ns(clockwork->loop) < clockwork->wanted_ns;
    fired_disorder += clockwork->wanted_ns < fired_last_ns;
    fired_last_ns = clockwork->wanted_ns;
}

static void stop_fire(struct hk_timer *timer) {
    hk_loop_stop(((struct clockwork *)timer)->loop);
}

TEST(timers_fire_in_order) {
    struct hk_loop *loop = NULL;
    CHECK_INT(hk_loop_create(HK_SPIN_OFF, &loop), HK_OK);
    static struct clockwork clocks[TIMERS];
    memset(clocks, 0, sizeof(clocks));
    fired = fired_early = fired_disorder = 0;
    fired_last_ns = 0;
    int64_t now_ns = hk_loop_now_ns(loop);
    for (unsigned i = 0; i < TIMERS; i++) {
        clocks[i] = (struct clockwork){ { count_fire, 0, 0 }, loop, 0 };
        CHECK_INT(hk_loop_arm(loop, &clocks[i].timer, now_ns + 1000000000), HK_OK);
    }
    for (unsigned i = 0; i < TIMERS; i++) {
        clocks[i].wanted_ns = now_ns + (int64_t)(hk_test_random() % 5000000);
        CHECK_INT(hk_loop_arm(loop, &clocks[i].timer, clocks[i].wanted_ns), HK_OK);
    }
    for (unsigned i = 0; i < TIMERS; i += 3) {
        hk_loop_disarm(loop, &clocks[i].timer);
        hk_loop_disarm(loop, &clocks[i].timer);
    }
    struct clockwork stop = { { stop_fire, 0, 0 }, loop, 0 };
    CHECK_INT(hk_loop_arm(loop, &stop.timer, now_ns + 6000000), HK_OK);
    hk_loop_run(loop);
    CHECK_INT(fired, TIMERS - (TIMERS + 2) / 3);
    CHECK_INT(fired_early, 0);
    CHECK_INT(fired_disorder, 0);
    hk_loop_destroy(loop);
}

enum { SENDERS = 3, MESSAGES = 3000 };

struct message {
    struct hk_task task;
    struct hk_loop *loop;
    unsigned sender, number;
};

static struct message messages[SENDERS][MESSAGES];
static unsigned next_number[SENDERS], received, disorder;

static void receive(struct hk_task *task) {
    const struct message *message = (const struct message *)task;
    disorder += message->number != next_number[message->sender]++;
    if (++received == SENDERS * MESSAGES) hk_loop_stop(message->loop);
}

static void send_all(void *arg) {
    struct message *own = arg;
    for (unsigned i = 0; i < MESSAGES; i++) {
        hk_loop_post(own[i].loop, &own[i].task);
    }
}

static void check_senders(enum hk_spin spin) {
    struct hk_loop *loop = NULL;
    CHECK_INT(hk_loop_create(spin, &loop), HK_OK);
    struct hk_thread threads[SENDERS];
    memset(next_number, 0, sizeof(next_number));
    received = disorder = 0;
    for (unsigned s = 0; s < SENDERS; s++) {
        for (unsigned i = 0; i < MESSAGES; i++) {
            messages[s][i] = (struct message){ { receive, NULL }, loop, s, i };
        }
        CHECK_INT(hk_thread_start(&threads[s], "sender", send_all, messages[s]), 0);
    }
    hk_loop_run(loop);
    for (unsigned s = 0; s < SENDERS; s++) {
        hk_thread_join(&threads[s]);
    }
    CHECK_INT(received, SENDERS * MESSAGES);
    CHECK_INT(disorder, 0);
    struct hk_loop_stats stats = { 0 };
    hk_loop_get_stats(loop, &stats);
    CHECK(stats.rounds > 0);
    hk_loop_destroy(loop);
}

TEST(tasks_of_many_threads) {
    check_senders(HK_SPIN_OFF);
    check_senders(HK_SPIN_ADAPTIVE);
    check_senders(HK_SPIN_ALWAYS);
}

struct reader {
    struct hk_io io;
    struct hk_loop *loop;
    struct reader *other;
    unsigned calls;
};

static void read_once(struct hk_io *io, unsigned events) {
    struct reader *reader = (struct reader *)io;
    reader->calls++;
    CHECK((events & HK_IO_READ) != 0);
    /* Both are readable in this round; the one that comes first ends the other. */
    hk_loop_unwatch(reader->loop, &reader->other->io);
    hk_loop_unwatch(reader->loop, &reader->io);
    hk_loop_stop(reader->loop);
}

static void count_round(void *self) {
    ++*(unsigned *)self;
}

TEST(unwatch_in_the_same_round) {
    struct hk_loop *loop = NULL;
    CHECK_INT(hk_loop_create(HK_SPIN_OFF, &loop), HK_OK);
    struct reader readers[2] = { { { 0 }, loop, &readers[1], 0 }, { { 0 }, loop, &readers[0], 0 } };
    int pairs[2][2];
    unsigned rounds = 0;
    hk_loop_on_round_end(loop, count_round, &rounds);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
        readers[i].io = (struct hk_io){ pairs[i][0], read_once };
        CHECK_INT(hk_loop_watch(loop, &readers[i].io, HK_IO_READ), HK_OK);
        CHECK_INT(write(pairs[i][1], "x", 1), 1);
    }
    hk_loop_run(loop);
    CHECK_INT(readers[0].calls + readers[1].calls, 1);
    CHECK_INT(rounds, 1);
    for (int i = 0; i < 2; i++) {
        (void)close(pairs[i][0]);
        (void)close(pairs[i][1]);
    }
    hk_loop_destroy(loop);
}

TEST(stop_before_run_is_not_lost) {
    struct hk_loop *loop = NULL;
    CHECK_INT(hk_loop_create(HK_SPIN_OFF, &loop), HK_OK);
    hk_loop_stop(loop);
    hk_loop_run(loop);
    CHECK(hk_loop_now_ns(loop) <= hk_clock_monotonic_ns());
    hk_loop_destroy(loop);
}

/* Work that needs a number of turns; notes the order of all turns. */
struct job {
    struct hk_work work;
    struct hk_loop *loop;
    unsigned left, number;
    bool stops;
};

static unsigned turns[64], turn_count, sources[HK_LOOP_ROUND_END + 1];

static bool job_turn(struct hk_work *work) {
    struct job *job = (struct job *)work;
    turns[turn_count++ % 64] = job->number;
    if (--job->left > 0) return true;
    if (job->stops) hk_loop_stop(job->loop);
    return false;
}

static void count_source(void *self, enum hk_loop_source source, int64_t spent_ns) {
    (void)self;
    CHECK(spent_ns >= 0);
    sources[source]++;
}

TEST(works_take_turns_until_they_are_done) {
    struct hk_loop *loop = NULL;
    CHECK_INT(hk_loop_create(HK_SPIN_OFF, &loop), HK_OK);
    hk_loop_on_turn(loop, count_source, NULL);
    struct job jobs[4] = {
        { .left = 5, .stops = true }, { .left = 2 }, { .left = 1 }, { .left = 9 }
    };
    turn_count = 0;
    for (unsigned i = 0; i < 4; i++) {
        jobs[i].work.turn = job_turn;
        jobs[i].loop = loop;
        jobs[i].number = i;
        hk_loop_work(loop, &jobs[i].work);
        hk_loop_work(loop, &jobs[i].work); /* it is queued already */
    }
    hk_loop_unwork(loop, &jobs[3].work); /* the last one: the queue's end moves */
    hk_loop_unwork(loop, &jobs[3].work);
    hk_loop_run(loop); /* no descriptor, no timer: work alone keeps it awake */
    static const unsigned wanted[] = { 0, 1, 2, 0, 1, 0, 0, 0 };
    CHECK_INT(turn_count, 8);
    for (unsigned i = 0; i < 8; i++)
        CHECK_INT(turns[i], wanted[i]);
    CHECK_INT(sources[HK_LOOP_WORK], 8);
    CHECK_INT(jobs[3].left, 9);
    hk_loop_destroy(loop);
}

/* Endless work: a descriptor and a timer are served all the same. */
struct endless {
    struct hk_work work;
    struct hk_io io;
    struct hk_timer timer;
    struct hk_loop *loop;
    bool readable, fired;
};

static bool endless_turn(struct hk_work *work) {
    (void)work;
    return true;
}

static void end_if_both(struct endless *endless) {
    if (endless->readable && endless->fired) hk_loop_stop(endless->loop);
}

static void endless_ready(struct hk_io *io, unsigned events) {
    struct endless *endless = (struct endless *)(void *)((char *)io - offsetof(struct endless, io));
    (void)events;
    hk_loop_unwatch(endless->loop, io);
    endless->readable = true;
    end_if_both(endless);
}

static void endless_fire(struct hk_timer *timer) {
    struct endless *endless =
        (struct endless *)(void *)((char *)timer - offsetof(struct endless, timer));
    endless->fired = true;
    end_if_both(endless);
}

TEST(work_does_not_starve_the_others) {
    struct endless endless = { .work.turn = endless_turn };
    int pair[2] = { -1, -1 };
    CHECK_INT(hk_loop_create(HK_SPIN_OFF, &endless.loop), HK_OK);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CHECK_INT(write(pair[1], "x", 1), 1);
    endless.io = (struct hk_io){ pair[0], endless_ready };
    endless.timer.fire = endless_fire;
    hk_loop_work(endless.loop, &endless.work);
    CHECK_INT(hk_loop_watch(endless.loop, &endless.io, HK_IO_READ), HK_OK);
    CHECK_INT(hk_loop_arm(endless.loop, &endless.timer, hk_clock_monotonic_ns()), HK_OK);
    hk_loop_run(endless.loop);
    CHECK(endless.readable && endless.fired);
    hk_loop_unwork(endless.loop, &endless.work);
    hk_loop_destroy(endless.loop);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static hk_err create_and_destroy(void) {
    struct hk_loop *loop = NULL;
    HK_TRY(hk_loop_create(HK_SPIN_OFF, &loop));
    struct hk_timer timer = { stop_fire, 0, 0 };
    hk_err err = hk_loop_arm(loop, &timer, 1);
    hk_loop_destroy(loop);
    return err;
}

TEST(out_of_memory) {
    SWEEP_ALLOC(create_and_destroy());
}

HK_TEST_MAIN()
