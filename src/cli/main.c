/* hark: the one binary. */
#include "base/str.h"

#include <stdio.h>

int main(void) {
    (void)printf("hark %s\n", HK_VERSION);
    return 0;
}
