// SPDX-License-Identifier: Apache-2.0
// The imports of WASI 0.2 that preview1.c needs, as a C component sees them.
#ifndef COMPONENT_WASI_H
#define COMPONENT_WASI_H

#include "abi.h"

#define WASI_VERSION "@0.2.0"

// variant stream-error: an own error, or the end.
struct stream_error {
    uint8_t closed;
    uint32_t error;
};

struct stream_result {
    uint8_t failed;
    union {
        struct list data;
        struct stream_error error;
    };
};

struct file_data {
    uint8_t failed;
    union {
        struct {
            struct list data;
            uint8_t at_end;
        };
        uint8_t code;
    };
};

struct file_size {
    uint8_t failed;
    union {
        uint64_t size;
        uint8_t code;
    };
};

// tuple<descriptor, string>
struct preopen {
    uint32_t descriptor;  // own
    struct list name;
};

enum { PATH_SYMLINK_FOLLOW = 1 };
enum { OPEN_CREATE = 1, OPEN_DIRECTORY = 2, OPEN_EXCLUSIVE = 4, OPEN_TRUNCATE = 8 };
enum { DESCRIPTOR_READ = 1, DESCRIPTOR_WRITE = 2 };

IMPORT("wasi:io/error" WASI_VERSION, "[resource-drop]error")
void io_error_drop(uint32_t error);

IMPORT("wasi:io/streams" WASI_VERSION, "[method]input-stream.blocking-read")
void input_read(uint32_t stream, uint64_t size, struct stream_result *data);
// At most 4096 bytes.
IMPORT("wasi:io/streams" WASI_VERSION, "[method]output-stream.blocking-write-and-flush")
void output_write(uint32_t stream, const void *data, uint32_t size, struct stream_result *done);

IMPORT("wasi:cli/stdin" WASI_VERSION, "get-stdin") uint32_t get_stdin(void);
IMPORT("wasi:cli/stdout" WASI_VERSION, "get-stdout") uint32_t get_stdout(void);
IMPORT("wasi:cli/stderr" WASI_VERSION, "get-stderr") uint32_t get_stderr(void);

IMPORT("wasi:cli/environment" WASI_VERSION, "get-arguments") void get_arguments(struct list *texts);

IMPORT("wasi:cli/exit" WASI_VERSION, "exit-with-code") _Noreturn void exit_with_code(uint32_t code);

IMPORT("wasi:clocks/monotonic-clock" WASI_VERSION, "now") uint64_t clock_now(void);

IMPORT("wasi:filesystem/preopens" WASI_VERSION, "get-directories")
void get_directories(struct list *preopens);

IMPORT("wasi:filesystem/types" WASI_VERSION, "[method]descriptor.open-at")
void file_open(uint32_t directory, uint32_t path_flags, const char *path, uint32_t size,
               uint32_t open_flags, uint32_t flags, struct result *descriptor);
IMPORT("wasi:filesystem/types" WASI_VERSION, "[method]descriptor.read")
void file_read_at(uint32_t file, uint64_t size, uint64_t offset, struct file_data *data);
IMPORT("wasi:filesystem/types" WASI_VERSION, "[method]descriptor.write")
void file_write_at(uint32_t file, const void *data, uint32_t size, uint64_t offset,
                   struct file_size *written);
IMPORT("wasi:filesystem/types" WASI_VERSION, "[resource-drop]descriptor")
void file_drop(uint32_t file);

#endif
