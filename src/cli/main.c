/* hark: the one binary. */
#include "cli/commands.h"

int main(int argc, char **argv) {
#ifdef HK_NO_ENGINE
    return hk_cli_main(argc, (const char *const *)argv, NULL);
#else
    return hk_cli_main(argc, (const char *const *)argv, hk_engine_serve);
#endif
}
