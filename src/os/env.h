/* The process' environment and names of files by pattern. */
#ifndef HK_OS_ENV_H
#define HK_OS_ENV_H

#include <stddef.h>

/* Value of an environment variable, NULL when unset. Control thread only, before and while no
 * thread changes the environment; borrowed. */
const char *hk_env_get(const char *name);

/*
 * Calls `visit` with each existing path that matches the shell pattern (*, ?, […]), in byte order;
 * stops and returns its value when not 0. 0 also when nothing matches; -ENOMEM, -EIO.
 */
int hk_path_glob(const char *pattern, int (*visit)(void *self, const char *path), void *self);

#endif
