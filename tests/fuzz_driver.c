/* Runs a fuzz target over the files of the folders and files given as arguments. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static unsigned run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return 0;
    enum { BYTES_MAX = 4 << 20 };
    uint8_t *data = malloc(BYTES_MAX);
    if (data == NULL) abort();
    size_t bytes = fread(data, 1, BYTES_MAX, file);
    (void)fclose(file);
    /* An exact-size copy lets a sanitizer see reads past the end. */
    uint8_t *exact = malloc(bytes == 0 ? 1 : bytes);
    if (exact == NULL) abort();
    memcpy(exact, data, bytes);
    (void)LLVMFuzzerTestOneInput(exact, bytes);
    free(exact);
    free(data);
    return 1;
}

int main(int argc, char **argv) {
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (dir == NULL) {
            count += run_file(argv[i]);
            continue;
        }
        for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
            char path[4096];
            if (entry->d_name[0] == '.') continue;
            (void)snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
            count += run_file(path);
        }
        (void)closedir(dir);
    }
    (void)printf("%u inputs\n", count);
    return count == 0 ? 1 : 0; /* an empty corpus is a mistake */
}
