/*
 * A simulated disk behind os/file.h: contents live in memory, and a power loss forgets what was
 * not synced. Unsynced writes are torn at 512-byte borders; directory entries that were not synced
 * are there or not, by chance. Linked into tests in place of os/file_linux.c.
 */
#ifndef HK_SIM_OS_SIM_H
#define HK_SIM_OS_SIM_H

#include <stdbool.h>
#include <stdint.h>

/* Forgets all files; `seed` decides what chance decides. */
void hk_sim_reset(uint64_t seed);

/* Power goes at the `operations`-th file operation from now (every later one fails); 0 = never. */
void hk_sim_cut_after(uint64_t operations);

/* Has the power gone? */
bool hk_sim_is_off(void);

/* After the process' files are closed: the disk as the next start finds it; power is back. */
void hk_sim_reboot(void);

/* Operations so far. */
uint64_t hk_sim_operations(void);

/* Writes from now on fail with -ENOSPC when the disk holds more than `bytes`; 0 = no limit. */
void hk_sim_disk_bytes(uint64_t bytes);

/* Flips one bit of a file; false when there is no such byte. */
bool hk_sim_flip(const char *path, uint64_t byte, unsigned bit);

/* Size of a file, −1 when there is none. Names: the n-th file, NULL at the end. */
int64_t hk_sim_size(const char *path);
const char *hk_sim_name(uint32_t n);

#endif
