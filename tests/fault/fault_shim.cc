// A library for LD_PRELOAD: the system calls of a server, failing, slow, or with another
// time, as FaultControl says. Only files below FAULT_DIRECTORY are struck.
//
// Timed waits until a point of wall time are told the real one, or a clock that jumped
// ahead would let them wait for hours, which no kernel does.

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "tests/fault/fault_control.h"

namespace {

using alaya::FaultControl;

constexpr int kDescriptorsMax = 65536;
// Points of steady time are seconds since the machine started: far less.
constexpr time_t kWallTimeMin = 1'000'000'000;

FaultControl* control = nullptr;
const char* directory = nullptr;
size_t directory_bytes = 0;
std::array<std::atomic<bool>, kDescriptorsMax> is_struck_file{};
std::atomic<uint64_t> write_count{0};
std::atomic<uint64_t> read_count{0};

__attribute__((constructor)) void MapControl() {
  const char* const path = std::getenv(alaya::kFaultControlVariable);
  directory = std::getenv(alaya::kFaultDirectoryVariable);
  if (path == nullptr || directory == nullptr) return;
  directory_bytes = std::strlen(directory);
  const int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) std::abort();
  void* page = mmap(nullptr, sizeof(FaultControl), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (page == MAP_FAILED) std::abort();
  control = static_cast<FaultControl*>(page);
}

template <typename Function>
Function Real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}
#define REAL(name) Real<decltype(&::name)>(#name)

bool IsStruckPath(const char* path) {
  return control != nullptr && std::strncmp(path, directory, directory_bytes) == 0;
}

bool IsStruck(int file) {
  return control != nullptr && file >= 0 && file < kDescriptorsMax &&
         is_struck_file[static_cast<size_t>(file)].load(std::memory_order_relaxed);
}

void Delay() {
  if (const uint32_t delay_us = control->delay_us; delay_us > 0) usleep(delay_us);
}

// True if the call fails; errno says why.
bool FailsToWrite() {
  const uint32_t interval = control->write_error_interval;
  if (interval == 0 || write_count.fetch_add(1) % interval != 0) return false;
  ++control->struck_count;
  errno = control->write_errno;
  return true;
}
bool FailsToRead() {
  const uint32_t interval = control->read_error_interval;
  if (interval == 0 || read_count.fetch_add(1) % interval != 0) return false;
  ++control->struck_count;
  errno = EIO;
  return true;
}

bool StrikesWrite(int file) {
  if (!IsStruck(file)) return false;
  Delay();
  return FailsToWrite();
}
bool StrikesRead(int file) {
  if (!IsStruck(file)) return false;
  Delay();
  return FailsToRead();
}

int Opened(const char* path, int flags, int file) {
  if (file >= 0 && file < kDescriptorsMax) {
    is_struck_file[static_cast<size_t>(file)] = (flags & O_DIRECTORY) == 0 && IsStruckPath(path);
  }
  return file;
}
bool StrikesOpen(const char* path, int flags) {
  return (flags & O_CREAT) != 0 && IsStruckPath(path) && FailsToWrite();
}

time_t Offset() { return control == nullptr ? 0 : static_cast<time_t>(control->clock_offset_s); }

timespec RealTime(const timespec& point) {
  timespec real = point;
  if (real.tv_sec >= kWallTimeMin) real.tv_sec -= Offset();
  return real;
}

}  // namespace

// The names and parameters are the C library's.
// NOLINTBEGIN(readability-identifier-naming,cert-dcl50-cpp)
extern "C" {

int open(const char* path, int flags, ...) {
  static const auto real = Real<int (*)(const char*, int, ...)>("open");
  va_list list;
  va_start(list, flags);
  const mode_t mode = va_arg(list, mode_t);
  va_end(list);
  if (StrikesOpen(path, flags)) return -1;
  return Opened(path, flags, real(path, flags, mode));
}
int open64(const char* path, int flags, ...) {
  static const auto real = Real<int (*)(const char*, int, ...)>("open64");
  va_list list;
  va_start(list, flags);
  const mode_t mode = va_arg(list, mode_t);
  va_end(list);
  if (StrikesOpen(path, flags)) return -1;
  return Opened(path, flags, real(path, flags, mode));
}

int close(int file) {
  static const auto real = REAL(close);
  // The next one with this number may be a socket.
  if (file >= 0 && file < kDescriptorsMax) is_struck_file[static_cast<size_t>(file)] = false;
  return real(file);
}

ssize_t write(int file, const void* bytes, size_t count) {
  static const auto real = REAL(write);
  return StrikesWrite(file) ? -1 : real(file, bytes, count);
}
ssize_t pwrite(int file, const void* bytes, size_t count, off_t offset) {
  static const auto real = REAL(pwrite);
  return StrikesWrite(file) ? -1 : real(file, bytes, count, offset);
}
ssize_t pwrite64(int file, const void* bytes, size_t count, off64_t offset) {
  static const auto real = REAL(pwrite64);
  return StrikesWrite(file) ? -1 : real(file, bytes, count, offset);
}
int fsync(int file) {
  static const auto real = REAL(fsync);
  return StrikesWrite(file) ? -1 : real(file);
}
int fdatasync(int file) {
  static const auto real = REAL(fdatasync);
  return StrikesWrite(file) ? -1 : real(file);
}
ssize_t read(int file, void* bytes, size_t count) {
  static const auto real = REAL(read);
  return StrikesRead(file) ? -1 : real(file, bytes, count);
}
ssize_t pread(int file, void* bytes, size_t count, off_t offset) {
  static const auto real = REAL(pread);
  return StrikesRead(file) ? -1 : real(file, bytes, count, offset);
}
ssize_t pread64(int file, void* bytes, size_t count, off64_t offset) {
  static const auto real = REAL(pread64);
  return StrikesRead(file) ? -1 : real(file, bytes, count, offset);
}
int statvfs(const char* path, struct statvfs* state) {
  static const auto real = REAL(statvfs);
  const int result = real(path, state);
  if (result == 0 && control != nullptr && control->write_error_interval > 0 &&
      control->write_errno == ENOSPC) {
    state->f_bavail = 0;
  }
  return result;
}

int clock_gettime(clockid_t clock, timespec* time) {
  static const auto real = REAL(clock_gettime);
  const int result = real(clock, time);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) time->tv_sec += Offset();
  return result;
}
int gettimeofday(timeval* time, void* zone) {
  static const auto real = Real<int (*)(timeval*, void*)>("gettimeofday");
  const int result = real(time, zone);
  time->tv_sec += Offset();
  return result;
}
time_t time(time_t* result) {
  static const auto real = REAL(time);
  const time_t now = real(nullptr) + Offset();
  if (result != nullptr) *result = now;
  return now;
}
int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                           const timespec* point) {
  static const auto real = Real<decltype(&::pthread_cond_timedwait)>("pthread_cond_timedwait");
  const timespec real_point = RealTime(*point);
  return real(condition, mutex, &real_point);
}
int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const timespec* point) {
  static const auto real = REAL(pthread_cond_clockwait);
  const timespec real_point = RealTime(*point);
  return real(condition, mutex, clock, &real_point);
}
int sem_timedwait(sem_t* semaphore, const timespec* point) {
  static const auto real = REAL(sem_timedwait);
  const timespec real_point = RealTime(*point);
  return real(semaphore, &real_point);
}
long syscall(long number, ...) {
  static const auto real = REAL(syscall);
  va_list list;
  va_start(list, number);
  std::array<long, 6> words{};
  for (long& word : words) word = va_arg(list, long);
  va_end(list);
  timespec real_point{};
  if (number == SYS_futex && words[3] != 0 && (words[1] & FUTEX_CLOCK_REALTIME) != 0) {
    real_point = RealTime(*reinterpret_cast<const timespec*>(words[3]));
    words[3] = reinterpret_cast<long>(&real_point);
  }
  return real(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

}  // extern "C"
// NOLINTEND(readability-identifier-naming,cert-dcl50-cpp)
