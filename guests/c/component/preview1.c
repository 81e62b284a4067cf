// SPDX-License-Identifier: Apache-2.0
// What the C library asks of WASI preview 1, answered by WASI 0.2: enough for guests that read arguments and
// files, print, and write files.
//
// The C library declares these functions as imports. Defined here, they are the ones that it is linked to.

#include "wasi.h"

#include <string.h>
#include <wasi/api.h>

#define PREVIEW1(name) __imported_wasi_snapshot_preview1_##name

enum { MAX_FILES = 64, MAX_WRITE = 4096, MAX_READ = 1 << 20 };

enum kind { FREE, STREAM, DIRECTORY, FILE_ };

struct file {
    enum kind kind;
    uint32_t handle;
    uint64_t offset;
    struct list name;  // of a preopened directory
};

static struct file files[MAX_FILES];

// Streams and preopened directories, when the first of them is asked for.
static void open_world(void) {
    if (files[0].kind != FREE) return;
    files[0] = (struct file){.kind = STREAM, .handle = get_stdin()};
    files[1] = (struct file){.kind = STREAM, .handle = get_stdout()};
    files[2] = (struct file){.kind = STREAM, .handle = get_stderr()};
    struct list found;
    get_directories(&found);
    const struct preopen *preopens = found.data;
    for (uint32_t i = 0; i < found.size && i + 3 < MAX_FILES; i++)
        files[i + 3] = (struct file){DIRECTORY, preopens[i].descriptor, 0, preopens[i].name};
    if (found.size) free(found.data);
}

static struct file *file_of(int32_t fd) {
    open_world();
    return fd >= 0 && fd < MAX_FILES && files[fd].kind != FREE ? &files[fd] : NULL;
}

// By the order of `error-code` in wasi:filesystem/types.
static int32_t errno_of(uint8_t code) {
    static const uint8_t numbers[] = {
        __WASI_ERRNO_ACCES,      __WASI_ERRNO_AGAIN,      __WASI_ERRNO_ALREADY,
        __WASI_ERRNO_BADF,       __WASI_ERRNO_BUSY,       __WASI_ERRNO_DEADLK,
        __WASI_ERRNO_DQUOT,      __WASI_ERRNO_EXIST,      __WASI_ERRNO_FBIG,
        __WASI_ERRNO_ILSEQ,      __WASI_ERRNO_INPROGRESS, __WASI_ERRNO_INTR,
        __WASI_ERRNO_INVAL,      __WASI_ERRNO_IO,         __WASI_ERRNO_ISDIR,
        __WASI_ERRNO_LOOP,       __WASI_ERRNO_MLINK,      __WASI_ERRNO_MSGSIZE,
        __WASI_ERRNO_NAMETOOLONG, __WASI_ERRNO_NODEV,     __WASI_ERRNO_NOENT,
        __WASI_ERRNO_NOLCK,      __WASI_ERRNO_NOMEM,      __WASI_ERRNO_NOSPC,
        __WASI_ERRNO_NOTDIR,     __WASI_ERRNO_NOTEMPTY,   __WASI_ERRNO_NOTRECOVERABLE,
        __WASI_ERRNO_NOTSUP,     __WASI_ERRNO_NOTTY,      __WASI_ERRNO_NXIO,
        __WASI_ERRNO_OVERFLOW,   __WASI_ERRNO_PERM,       __WASI_ERRNO_PIPE,
        __WASI_ERRNO_ROFS,       __WASI_ERRNO_SPIPE,      __WASI_ERRNO_TXTBSY,
        __WASI_ERRNO_XDEV,
    };
    return code < sizeof numbers ? numbers[code] : __WASI_ERRNO_IO;
}

// -- arguments, the clock, the end --

static struct list *arguments(uint32_t *count) {
    static struct list texts;
    if (!texts.data) get_arguments(&texts);
    *count = texts.size;
    return texts.data;
}

int32_t PREVIEW1(args_sizes_get)(int32_t count, int32_t size) {
    uint32_t *total = (uint32_t *)size;
    const struct list *texts = arguments((uint32_t *)count);
    *total = 0;
    for (uint32_t i = 0; i < *(uint32_t *)count; i++) *total += texts[i].size + 1;
    return 0;
}

int32_t PREVIEW1(args_get)(int32_t places, int32_t buffer) {
    uint32_t count;
    const struct list *texts = arguments(&count);
    char *next = (char *)buffer;
    for (uint32_t i = 0; i < count; i++) {
        ((char **)places)[i] = next;
        if (texts[i].size) memcpy(next, texts[i].data, texts[i].size);
        next += texts[i].size;
        *next++ = 0;
    }
    return 0;
}

int32_t PREVIEW1(clock_time_get)(int32_t id, int64_t precision, int32_t time) {
    (void)precision;
    if (id != (int32_t)__WASI_CLOCKID_MONOTONIC) return __WASI_ERRNO_NOTSUP;
    *(uint64_t *)time = clock_now();
    return 0;
}

_Noreturn void PREVIEW1(proc_exit)(int32_t code) { exit_with_code((uint32_t)code & 0xff); }

// -- directories and files --

int32_t PREVIEW1(fd_prestat_get)(int32_t fd, int32_t result) {
    const struct file *file = file_of(fd);
    if (!file || !file->name.size) return __WASI_ERRNO_BADF;
    *(__wasi_prestat_t *)result = (__wasi_prestat_t){
        .tag = __WASI_PREOPENTYPE_DIR, .u.dir.pr_name_len = file->name.size};
    return 0;
}

int32_t PREVIEW1(fd_prestat_dir_name)(int32_t fd, int32_t path, int32_t size) {
    const struct file *file = file_of(fd);
    if (!file || !file->name.size) return __WASI_ERRNO_BADF;
    if ((uint32_t)size < file->name.size) return __WASI_ERRNO_NAMETOOLONG;
    memcpy((void *)path, file->name.data, file->name.size);
    return 0;
}

int32_t PREVIEW1(path_open)(int32_t fd, int32_t lookup, int32_t path, int32_t size, int32_t open,
                            int64_t rights, int64_t inherited, int32_t flags, int32_t opened) {
    (void)inherited;
    (void)flags;
    const struct file *directory = file_of(fd);
    if (!directory || directory->kind != DIRECTORY) return __WASI_ERRNO_BADF;
    int32_t free_fd = 3;
    while (free_fd < MAX_FILES && files[free_fd].kind != FREE) free_fd++;
    if (free_fd == MAX_FILES) return __WASI_ERRNO_NFILE;
    // The numbers of lookup and open flags are the same in both.
    uint32_t access = (rights & (int64_t)__WASI_RIGHTS_FD_READ ? DESCRIPTOR_READ : 0) |
                      (rights & (int64_t)__WASI_RIGHTS_FD_WRITE ? DESCRIPTOR_WRITE : 0);
    struct result result;
    file_open(directory->handle, (uint32_t)lookup, (const char *)path, (uint32_t)size,
              (uint32_t)open, access, &result);
    if (result.failed) return errno_of(result.code);
    bool is_directory = open & OPEN_DIRECTORY;
    files[free_fd] = (struct file){is_directory ? DIRECTORY : FILE_, result.handle, 0, {0}};
    *(int32_t *)opened = free_fd;
    return 0;
}

// close() is in Zig, which names the import so and takes an errno to be 16 bits.
uint16_t fd_close(int32_t fd) __asm__("fd_close|wasi_snapshot_preview1");

uint16_t fd_close(int32_t fd) {
    struct file *file = file_of(fd);
    if (!file) return __WASI_ERRNO_BADF;
    if (file->kind == STREAM) return 0;  // they stay open to the end
    file_drop(file->handle);
    file->kind = FREE;
    return 0;
}

int32_t PREVIEW1(fd_fdstat_get)(int32_t fd, int32_t result) {
    const struct file *file = file_of(fd);
    if (!file) return __WASI_ERRNO_BADF;
    static const uint8_t types[] = {[STREAM] = __WASI_FILETYPE_UNKNOWN,
                                    [DIRECTORY] = __WASI_FILETYPE_DIRECTORY,
                                    [FILE_] = __WASI_FILETYPE_REGULAR_FILE};
    *(__wasi_fdstat_t *)result = (__wasi_fdstat_t){.fs_filetype = types[file->kind],
                                                   .fs_rights_base = ~(__wasi_rights_t)0,
                                                   .fs_rights_inheriting = ~(__wasi_rights_t)0};
    return 0;
}

int32_t PREVIEW1(fd_fdstat_set_flags)(int32_t fd, int32_t flags) {
    if (!file_of(fd)) return __WASI_ERRNO_BADF;
    return flags ? __WASI_ERRNO_NOTSUP : 0;
}

int32_t PREVIEW1(fd_seek)(int32_t fd, int64_t offset, int32_t whence, int32_t position) {
    struct file *file = file_of(fd);
    if (!file) return __WASI_ERRNO_BADF;
    if (file->kind != FILE_) return __WASI_ERRNO_SPIPE;
    if (whence == __WASI_WHENCE_END) return __WASI_ERRNO_NOTSUP;
    int64_t target = offset + (whence == __WASI_WHENCE_CUR ? (int64_t)file->offset : 0);
    if (target < 0) return __WASI_ERRNO_INVAL;
    file->offset = (uint64_t)target;
    *(uint64_t *)position = (uint64_t)target;
    return 0;
}

// -- reading and writing --

// Reads once, at most `size` bytes: 0 at the end.
static int32_t read_some(struct file *file, uint8_t *data, uint32_t size, uint32_t *got) {
    struct list found;
    if (size > MAX_READ) size = MAX_READ;
    if (file->kind == STREAM) {
        struct stream_result result;
        input_read(file->handle, size, &result);
        *got = 0;
        if (result.failed) {
            if (result.error.closed) return 0;
            io_error_drop(result.error.error);
            return __WASI_ERRNO_IO;
        }
        found = result.data;
    } else {
        struct file_data result;
        file_read_at(file->handle, size, file->offset, &result);
        if (result.failed) return errno_of(result.code);
        found = result.data;
    }
    if (found.size) {
        memcpy(data, found.data, found.size);
        free(found.data);
    }
    file->offset += found.size;
    *got = found.size;
    return 0;
}

int32_t PREVIEW1(fd_read)(int32_t fd, int32_t pieces, int32_t count, int32_t total) {
    struct file *file = file_of(fd);
    if (!file || file->kind == DIRECTORY) return __WASI_ERRNO_BADF;
    const __wasi_iovec_t *piece = (const __wasi_iovec_t *)pieces;
    uint32_t *sum = (uint32_t *)total, got;
    *sum = 0;
    // A file is read until the buffers are full or it ends; a stream may wait for more, so once is enough.
    for (int32_t i = 0; i < count; i++) {
        for (uint32_t done = 0; done < piece[i].buf_len; done += got, *sum += got) {
            int32_t code = read_some(file, piece[i].buf + done, piece[i].buf_len - done, &got);
            if (code) return *sum ? 0 : code;
            if (!got) return 0;
            if (file->kind == STREAM) return *sum += got, 0;
        }
    }
    return 0;
}

static int32_t write_some(struct file *file, const uint8_t *data, uint32_t size, uint32_t *put) {
    if (file->kind == STREAM) {
        struct stream_result result;
        *put = size < MAX_WRITE ? size : MAX_WRITE;
        output_write(file->handle, data, *put, &result);
        if (!result.failed) return 0;
        if (!result.error.closed) io_error_drop(result.error.error);
        return __WASI_ERRNO_IO;
    }
    struct file_size result;
    file_write_at(file->handle, data, size, file->offset, &result);
    if (result.failed) return errno_of(result.code);
    *put = (uint32_t)result.size;
    file->offset += result.size;
    return 0;
}

int32_t PREVIEW1(fd_write)(int32_t fd, int32_t pieces, int32_t count, int32_t total) {
    struct file *file = file_of(fd);
    if (!file || file->kind == DIRECTORY) return __WASI_ERRNO_BADF;
    const __wasi_ciovec_t *piece = (const __wasi_ciovec_t *)pieces;
    uint32_t *sum = (uint32_t *)total, put;
    *sum = 0;
    for (int32_t i = 0; i < count; i++) {
        for (uint32_t done = 0; done < piece[i].buf_len; done += put, *sum += put) {
            int32_t code = write_some(file, piece[i].buf + done, piece[i].buf_len - done, &put);
            if (code) return *sum ? 0 : code;
        }
    }
    return 0;
}

// -- the command --

void _start(void);

// What a component exports in place of _start: result<_, _>. A guest that fails has left by proc_exit.
EXPORT("wasi:cli/run@0.2.0#run")
int32_t run(void) {
    _start();
    return 0;
}
