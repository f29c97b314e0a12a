/* Environment and patterns through the C library. */
#include "os/env.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>

const char *hk_env_get(const char *name) {
    return getenv(name);
}

int hk_path_glob(const char *pattern, int (*visit)(void *self, const char *path), void *self) {
    glob_t found = { 0 };
    int err = glob(pattern, 0, NULL, &found);
    int result = err == GLOB_NOSPACE ? -ENOMEM : err == 0 || err == GLOB_NOMATCH ? 0 : -EIO;
    for (size_t i = 0; err == 0 && i < found.gl_pathc && result == 0; i++)
        result = visit(self, found.gl_pathv[i]);
    globfree(&found);
    return result;
}
