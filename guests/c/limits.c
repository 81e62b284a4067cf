// SPDX-License-Identifier: Apache-2.0
// A guest that misbehaves on request, to test the limits and the I/O of a host.

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int usage(void) {
    fputs("usage: limits spin | recurse | grow | abort | args\n"
          "       limits sleep SECONDS | print BYTES|forever | exit CODE | env NAME\n"
          "       limits cat FILE|- | write FILE TEXT\n",
          stderr);
    return 2;
}

// `volatile` throughout: an optimiser may otherwise remove work whose result nobody reads.
static void spin(void) {
    volatile uint32_t turns = 0;
    for (;;) turns++;
}

// The array, read after the inner call returns, makes each frame real and stops the compiler
// from turning the recursion into a loop.
__attribute__((noinline)) static uint32_t recurse(uint32_t depth) {
    volatile uint32_t frame[16];
    frame[depth % 16] = depth;
    volatile uint32_t forever = 1;
    uint32_t below = forever ? recurse(depth + 1) : 0;
    return below + frame[depth % 16];
}

static void grow(void) {
    const size_t block = 1 << 20;
    for (;;) {
        // A refusal (NULL) is ignored: the host must end this by time, if memory does not.
        void *volatile memory = malloc(block);
        if (memory) memset(memory, 1, block);
    }
}

static int sleep_for(double seconds) {
    struct timespec time = {(time_t)seconds, 0};
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    return nanosleep(&time, NULL) ? 1 : 0;
}

static int print_bytes(const char *amount) {
    char block[4096];
    memset(block, 'x', sizeof block);
    for (size_t i = 63; i < sizeof block; i += 64) block[i] = '\n';
    int forever = !strcmp(amount, "forever");
    uint64_t left = forever ? UINT64_MAX : strtoull(amount, NULL, 10);
    while (left) {
        size_t size = left < sizeof block ? (size_t)left : sizeof block;
        // write(2), not stdio: the host sees each block as it is written.
        ssize_t done = write(STDOUT_FILENO, block, size);
        if (done < 0) {
            fprintf(stderr, "limits: write: %s\n", strerror(errno));
            return 1;
        }
        if (!forever) left -= (uint64_t)done;
    }
    return 0;
}

static int print_env(const char *name) {
    const char *value = getenv(name);
    if (!value) {
        fprintf(stderr, "limits: %s is not set\n", name);
        return 1;
    }
    puts(value);
    return 0;
}

static int cat(const char *path) {
    FILE *file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    if (!file) {
        fprintf(stderr, "limits: %s: %s\n", path, strerror(errno));
        return 1;
    }
    char block[4096];
    size_t size;
    while ((size = fread(block, 1, sizeof block, file)) > 0) fwrite(block, 1, size, stdout);
    return ferror(file) || fflush(stdout) ? 1 : 0;
}

static int write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "wb");
    int bad = !file || fputs(text, file) < 0;
    if (file && fclose(file)) bad = 1;
    if (bad) fprintf(stderr, "limits: %s: %s\n", path, strerror(errno));
    return bad;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "args")) {
        for (int i = 0; i < argc; i++) puts(argv[i]);
        return 0;
    }
    if (argc == 2) {
        if (!strcmp(what, "spin")) spin();
        if (!strcmp(what, "recurse")) return (int)recurse(0);
        if (!strcmp(what, "grow")) grow();
        if (!strcmp(what, "abort")) abort();
    }
    if (argc == 3) {
        const char *value = argv[2];
        if (!strcmp(what, "sleep")) return sleep_for(atof(value));
        if (!strcmp(what, "print")) return print_bytes(value);
        if (!strcmp(what, "exit")) exit(atoi(value));
        if (!strcmp(what, "env")) return print_env(value);
        if (!strcmp(what, "cat")) return cat(value);
    }
    if (argc == 4 && !strcmp(what, "write")) return write_file(argv[2], argv[3]);
    return usage();
}
