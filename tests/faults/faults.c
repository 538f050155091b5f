/*
 * A disk that fails on command, for a process that is started with this library in LD_PRELOAD.
 *
 * FAULTS_FOLDER   Files in this folder are on the disk that fails. All others are left alone.
 * FAULTS_CONTROL  A file of the numbers in `struct control`, which the test changes while the process runs.
 * FAULTS_UNDO     A folder. What the store's files held before each write that was not synced yet is written down
 *                 there, so that the test can take those writes back: that is what a loss of power does.
 *
 * The calls go to the kernel directly, so that nothing here calls itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { MAIN = 1, WAL = 2, SHM = 4, OTHER = 8 };
enum record { WRITTEN = 1, SYNCED = 2, NOT_SYNCED = 3 };
#define PAGE 4096
#define FDS 4096
#define FILES 64

/* Each number that is a limit is -1 where there is none. */
struct control {
  int64_t kinds;       /* which files fail: a sum of `enum kind` */
  int64_t growth;      /* bytes by which files may still grow; then: no space left on device */
  int64_t writes;      /* bytes that may still be written; then: input/output error */
  int64_t syncs;       /* syncs that still succeed; then: input/output error */
  int64_t failures;    /* how many calls have failed */
  int64_t sync_failed; /* whether one of them was a sync */
  int64_t sync_takes;  /* milliseconds that a sync takes */
};

struct header {
  int64_t record, start, end, size, held;
};

struct file {
  char path[512];
  int kind, undo;
  pthread_mutex_t lock;
};

static struct control *control;
static const char *folder, *undo;
static struct file files[FILES];
static int count;
static struct file *opened[FDS];
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("FAULTS_CONTROL");
  folder = getenv("FAULTS_FOLDER");
  undo = getenv("FAULTS_UNDO");
  if (!path || !folder) return;
  int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0);
  void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd < 0 || map == MAP_FAILED) abort();
  syscall(SYS_close, fd);
  control = map;
}

static int ends(const char *text, const char *end) {
  size_t a = strlen(text), b = strlen(end);
  return a >= b && !strcmp(text + a - b, end);
}

static struct file *known(const char *path) {
  for (int i = 0; i < count; i++)
    if (!strcmp(files[i].path, path)) return &files[i];
  if (count == FILES || strlen(path) >= sizeof files[0].path) abort();
  struct file *file = &files[count++];
  strcpy(file->path, path);
  file->kind = ends(path, ".db") ? MAIN : ends(path, ".db-wal") ? WAL : ends(path, ".db-shm") ? SHM : OTHER;
  file->undo = -1;
  pthread_mutex_init(&file->lock, NULL);
  if (undo && (file->kind == MAIN || file->kind == WAL)) {
    char name[1024];
    strcpy(name, undo);
    strcat(name, "/");
    strcat(name, strrchr(path, '/') + 1);
    file->undo = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file->undo < 0) abort();
  }
  return file;
}

static struct file *of(int fd) { return fd >= 0 && fd < FDS ? opened[fd] : NULL; }

static int64_t size_of(int fd) {
  struct stat stat;
  return fstat(fd, &stat) ? 0 : stat.st_size;
}

/* Several processes may have the file open. */
static void lock(struct file *file) {
  pthread_mutex_lock(&file->lock);
  if (file->undo >= 0) flock(file->undo, LOCK_EX);
}

static void unlock(struct file *file) {
  if (file->undo >= 0) flock(file->undo, LOCK_UN);
  pthread_mutex_unlock(&file->lock);
}

static void append(struct file *file, struct header *header, const char *held) {
  size_t length = sizeof *header + header->held;
  char *record = malloc(length);
  memcpy(record, header, sizeof *header);
  memcpy(record + sizeof *header, held, header->held);
  if (syscall(SYS_write, file->undo, record, length) != (long)length) abort();
  free(record);
}

/* What the pages hold that are about to be written. */
static void note(struct file *file, int fd, int64_t from, int64_t to) {
  if (file->undo < 0 || from >= to) return;
  int64_t size = size_of(fd), start = from / PAGE * PAGE, end = (to + PAGE - 1) / PAGE * PAGE;
  int64_t held = (end < size ? end : size) - start;
  if (held < 0) held = 0;
  char *old = malloc(held + 1);
  if (syscall(SYS_pread64, fd, old, held, start) != held) abort();
  struct header header = {WRITTEN, start, end, size, held};
  append(file, &header, old);
  free(old);
}

static int fails(struct file *file) { return control && file && (control->kinds & file->kind); }

static int failed(int error) {
  __atomic_add_fetch(&control->failures, 1, __ATOMIC_SEQ_CST);
  errno = error;
  return -1;
}

/* How much of `wanted` a limit still allows; the limit is lowered by it. */
static int64_t allowed(int64_t *limit, int64_t wanted) {
  int64_t left = __atomic_load_n(limit, __ATOMIC_SEQ_CST), taken;
  do {
    if (left < 0 || wanted <= 0) return wanted;
    taken = wanted < left ? wanted : left;
  } while (!__atomic_compare_exchange_n(limit, &left, left - taken, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
  return taken;
}

static ssize_t write_at(int fd, const void *data, size_t length, int64_t offset, int moves) {
  struct file *file = of(fd);
  if (!file) {
    return moves ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, offset);
  }
  lock(file);
  ssize_t done = length;
  if (fails(file)) {
    int64_t grows = offset + (int64_t)length - size_of(fd);
    if (grows > 0) done -= grows - allowed(&control->growth, grows);
    if (done <= 0 && length > 0) {
      unlock(file);
      return failed(ENOSPC);
    }
    if (allowed(&control->writes, done) < done) {
      unlock(file);
      return failed(EIO);
    }
  }
  note(file, fd, offset, offset + done);
  done = moves ? syscall(SYS_write, fd, data, done) : syscall(SYS_pwrite64, fd, data, done, offset);
  unlock(file);
  return done;
}

static int sync_by(long call, int fd) {
  struct file *file = of(fd);
  if (!file) return syscall(call, fd);
  lock(file);
  int done;
  if (control && control->sync_takes > 0) usleep(control->sync_takes * 1000);
  if (fails(file) && allowed(&control->syncs, 1) < 1) {
    control->sync_failed = 1;
    done = failed(EIO);
  } else {
    done = syscall(call, fd);
  }
  int error = errno;
  if (file->undo >= 0) {
    struct header header = {done ? NOT_SYNCED : SYNCED, 0, 0, 0, 0};
    /* What a failed sync left behind is never synced by a later one, and has to be remembered. */
    if (!done && !control->sync_failed) {
      if (syscall(SYS_ftruncate, file->undo, 0)) abort();
    } else {
      append(file, &header, "");
    }
  }
  unlock(file);
  errno = error;
  return done;
}

static int truncate_to(int fd, off_t length) {
  struct file *file = of(fd);
  if (!file) return syscall(SYS_ftruncate, fd, length);
  lock(file);
  note(file, fd, length, size_of(fd));
  int done = syscall(SYS_ftruncate, fd, length);
  unlock(file);
  return done;
}

static int open_at(int at, const char *path, int flags, mode_t mode) {
  int fd = syscall(SYS_openat, at, path, flags, mode);
  if (fd < 0 || fd >= FDS || !control) return fd;
  char link[64] = "/proc/self/fd/", real[512];
  char digits[16];
  int length = 0, rest = fd;
  do digits[length++] = '0' + rest % 10; while (rest /= 10);
  char *end = link + strlen(link);
  while (length) *end++ = digits[--length];
  *end = 0;
  ssize_t found = readlink(link, real, sizeof real - 1);
  if (found <= 0) return fd;
  real[found] = 0;
  struct stat stat;
  if (!strncmp(real, folder, strlen(folder)) && !fstat(fd, &stat) && S_ISREG(stat.st_mode)) {
    pthread_mutex_lock(&table);
    opened[fd] = known(real);
    pthread_mutex_unlock(&table);
  }
  return fd;
}

#define OPENED(at, path, flags)                             \
  mode_t mode = 0;                                          \
  if (flags & (O_CREAT | __O_TMPFILE)) {                    \
    va_list list;                                           \
    va_start(list, flags);                                  \
    mode = va_arg(list, mode_t);                            \
    va_end(list);                                           \
  }                                                         \
  return open_at(at, path, flags, mode)

int open(const char *path, int flags, ...) { OPENED(AT_FDCWD, path, flags); }
int open64(const char *path, int flags, ...) { OPENED(AT_FDCWD, path, flags); }
int openat(int at, const char *path, int flags, ...) { OPENED(at, path, flags); }
int openat64(int at, const char *path, int flags, ...) { OPENED(at, path, flags); }

int close(int fd) {
  if (fd >= 0 && fd < FDS) opened[fd] = NULL;
  return syscall(SYS_close, fd);
}

ssize_t write(int fd, const void *data, size_t length) {
  return write_at(fd, data, length, of(fd) ? lseek(fd, 0, SEEK_CUR) : 0, 1);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  return write_at(fd, data, length, offset, 0);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  return write_at(fd, data, length, offset, 0);
}

/* What is removed has nothing to take back. */
int unlink(const char *path) {
  pthread_mutex_lock(&table);
  for (int i = 0; control && i < count; i++)
    if (!strcmp(files[i].path, path) && files[i].undo >= 0 && syscall(SYS_ftruncate, files[i].undo, 0)) abort();
  pthread_mutex_unlock(&table);
  return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int fsync(int fd) { return sync_by(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_by(SYS_fdatasync, fd); }
int ftruncate(int fd, off_t length) { return truncate_to(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncate_to(fd, length); }
