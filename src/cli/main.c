/* hark: the one binary. */
#include "engine/serve.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    struct hk_serve_options options = { 0 };
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--config") == 0) options.config_path = argv[i + 1];
        if (strcmp(argv[i], "--data") == 0) options.data_dir = argv[i + 1];
        if (strcmp(argv[i], "--http") == 0) options.http = argv[i + 1];
        if (strcmp(argv[i], "--otlp-grpc") == 0) options.otlp_grpc = argv[i + 1];
        if (strcmp(argv[i], "--otlp-http") == 0) options.otlp_http = argv[i + 1];
        if (strcmp(argv[i], "--port-file") == 0) options.port_file = argv[i + 1];
    }
    return hk_engine_serve(&options);
}
