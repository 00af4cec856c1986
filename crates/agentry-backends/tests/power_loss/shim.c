/* Notes what is about to be overwritten in the files of one folder, and when each of them has been synced, so that whatever was
 * not synced can be taken back after the process was killed: as if the power had failed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t alone = PTHREAD_MUTEX_INITIALIZER;
static int notes = -1;

static ssize_t raw_write(int fd, const void *bytes, size_t count) {
  return syscall(SYS_write, fd, bytes, count);
}

static int ends_with(const char *text, const char *end) {
  size_t length = strlen(text), of_end = strlen(end);
  return length >= of_end && strcmp(text + length - of_end, end) == 0;
}

/* Whether the file is one of the database's that must survive. */
static int is_watched(int fd, char *path, size_t room) {
  const char *folder = getenv("POWER_LOSS_FOLDER");
  char link[64];
  if (folder == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, room - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strncmp(path, folder, strlen(folder)) == 0 &&
         (ends_with(path, ".db") || ends_with(path, "-wal") || ends_with(path, "-journal"));
}

static void note(char kind, const char *path, uint64_t at, uint64_t count, uint64_t size,
                 const void *old, uint32_t old_count) {
  uint32_t path_count = strlen(path);
  uint32_t total = 1 + 4 + 8 + 8 + 8 + 4 + path_count + old_count;
  char *record = malloc(total), *next = record;
  if (notes < 0) notes = open(getenv("POWER_LOSS_NOTES"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (record == NULL || notes < 0) abort();
#define PUT(value) (memcpy(next, &(value), sizeof(value)), next += sizeof(value))
  PUT(kind);
  PUT(path_count);
  PUT(at);
  PUT(count);
  PUT(size);
  PUT(old_count);
  memcpy(next, path, path_count);
  if (old_count > 0) memcpy(next + path_count, old, old_count);
  if (raw_write(notes, record, total) != (ssize_t)total) abort();
  free(record);
}

/* `kind` is W for a write of `count` bytes, T for a cut to `at`: then all that follows is lost. */
static void note_change(int fd, char kind, uint64_t at, uint64_t count) {
  char path[4096];
  struct stat file;
  if (!is_watched(fd, path, sizeof path) || fstat(fd, &file) != 0) return;
  uint64_t size = file.st_size, end = kind == 'W' ? at + count : size;
  if (end > size) end = size;
  uint64_t old_count = end > at ? end - at : 0;
  char *old = malloc(old_count + 1);
  if (old == NULL || pread(fd, old, old_count, at) != (ssize_t)old_count) abort();
  pthread_mutex_lock(&alone);
  note(kind, path, at, count, size, old, old_count);
  pthread_mutex_unlock(&alone);
  free(old);
}

static void note_sync(int fd) {
  char path[4096];
  if (!is_watched(fd, path, sizeof path)) return;
  pthread_mutex_lock(&alone);
  note('S', path, 0, 0, 0, NULL, 0);
  pthread_mutex_unlock(&alone);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  off_t at = lseek(fd, 0, SEEK_CUR);
  if (at >= 0) note_change(fd, 'W', at, count);
  return raw_write(fd, bytes, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  note_change(fd, 'W', at, count);
  return syscall(SYS_pwrite64, fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
  return pwrite64(fd, bytes, count, at);
}

int ftruncate64(int fd, off64_t at) {
  note_change(fd, 'T', at, 0);
  return syscall(SYS_ftruncate, fd, at);
}

int ftruncate(int fd, off_t at) { return ftruncate64(fd, at); }

/* A disk that takes its time: then the power fails while something is on its way. */
static void dawdle(int fd) {
  char path[4096];
  if (is_watched(fd, path, sizeof path)) usleep(2000);
}

int fsync(int fd) {
  dawdle(fd);
  int result = syscall(SYS_fsync, fd);
  if (result == 0) note_sync(fd);
  return result;
}

int fdatasync(int fd) {
  dawdle(fd);
  int result = syscall(SYS_fdatasync, fd);
  if (result == 0) note_sync(fd);
  return result;
}
