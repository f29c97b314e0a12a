/* hark: the one binary. */
#include "cli/commands.h"

int main(int argc, char **argv) {
    return hk_cli_main(argc, (const char *const *)argv, hk_engine_serve);
}
