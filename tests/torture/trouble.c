/* Lies to one process about the host: its clock is off, its disk refuses to write. Preloaded; see trouble.py.

   A shared page says what is wrong now: milliseconds that the clock is ahead, and the errno of every write (0: none)
   to a regular file below a folder. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct trouble { volatile int64_t ahead_ms; volatile int64_t disk; };

static struct trouble none;
static struct trouble *now = &none;
static const char *folder = "";

#define REAL(name) ((__typeof__(&name))real(#name, &found_##name))
#define KEPT(name) static void *found_##name
KEPT(clock_gettime); KEPT(write); KEPT(pwrite); KEPT(pwrite64); KEPT(fsync);
KEPT(fdatasync); KEPT(posix_fallocate); KEPT(posix_fallocate64);

static void *real(const char *name, void **kept) {
    if (!*kept) *kept = dlsym(RTLD_NEXT, name);
    return *kept;
}

__attribute__((constructor)) static void begin(void) {
    const char *page = getenv("TROUBLE_PAGE");
    const char *where = getenv("TROUBLE_FOLDER");
    int file = page ? open(page, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(struct trouble), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) now = mapped;
    if (where) folder = where;
}

static int refuses(int file) {
    char link[64], path[4096];
    struct stat about;
    if (!now->disk || fstat(file, &about) || !S_ISREG(about.st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return *folder && !strncmp(path, folder, strlen(folder));
}

#define REFUSE(file) if (refuses(file)) { errno = (int)now->disk; return -1; }

int clock_gettime(clockid_t which, struct timespec *told) {
    int code = REAL(clock_gettime)(which, told);
    if (code || !now->ahead_ms || (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE)) return code;
    int64_t ns = (int64_t)told->tv_sec * 1000000000 + told->tv_nsec + now->ahead_ms * 1000000;
    told->tv_sec = ns / 1000000000;
    told->tv_nsec = ns % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict told, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
    told->tv_sec = precise.tv_sec;
    told->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *told) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (told) *told = precise.tv_sec;
    return precise.tv_sec;
}

ssize_t write(int file, const void *data, size_t size) { REFUSE(file) return REAL(write)(file, data, size); }
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    REFUSE(file) return REAL(pwrite)(file, data, size, at);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    REFUSE(file) return REAL(pwrite64)(file, data, size, at);
}
/* a full disk takes what it has taken */
int fsync(int file) { if (now->disk != ENOSPC) REFUSE(file) return REAL(fsync)(file); }
int fdatasync(int file) { if (now->disk != ENOSPC) REFUSE(file) return REAL(fdatasync)(file); }
int posix_fallocate(int file, off_t at, off_t size) {
    return refuses(file) ? (int)now->disk : REAL(posix_fallocate)(file, at, size);
}
int posix_fallocate64(int file, off64_t at, off64_t size) {
    return refuses(file) ? (int)now->disk : REAL(posix_fallocate64)(file, at, size);
}
