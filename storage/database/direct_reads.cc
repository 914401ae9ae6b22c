#include "storage/database/direct_reads.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace alaya {
namespace {

// What O_DIRECT asks of offsets, lengths and memory on any disk of today.
constexpr size_t kAlignment = 4096;
// Below, the system's way is as good: indexes and footers of files.
constexpr size_t kDirectBytesMin = size_t{8} << 10;
constexpr size_t kHugePageBytes = size_t{2} << 20;
// Who finds no buffer reads the usual way. Large ones take a run of pages of 1 MiB and what
// alignment and headers add: where memory is large, more than there are threads that read runs
// (page_reader.cc).
constexpr size_t kLargeBufferCountMin = 2;
constexpr size_t kLargeBufferBytes = size_t{5} << 18;
// Small ones take a page of keys and the one of values behind it: enough for all who read them
// at a time. They share one huge page.
constexpr size_t kSmallBufferBytes = size_t{64} << 10;
constexpr size_t kSmallBufferCount = kHugePageBytes / kSmallBufferBytes;

size_t AlignDown(size_t x) { return x / kAlignment * kAlignment; }
size_t AlignUp(size_t x) { return AlignDown(x + kAlignment - 1); }

// Whether the system's cache has all of the range. Kernels before 6.5 do not say.
bool IsCached(int file, uint64_t offset, size_t bytes) {
  constexpr long kCacheStat = 451;  // the headers of older systems have no name for it
  struct Range {
    uint64_t offset;
    uint64_t bytes;
  } range{AlignDown(offset), AlignUp(offset + bytes) - AlignDown(offset)};
  struct Found {
    uint64_t cached_pages = 0;
    uint64_t others[4] = {};
  } found;
  if (syscall(kCacheStat, file, &range, &found, 0U) != 0) return false;
  return found.cached_pages * kAlignment >= range.bytes;
}

}  // namespace

// Memory for reads under way, the same for all files.
class DirectBuffers {
 public:
  explicit DirectBuffers(size_t bytes_max)
      : large_count_(LargeBufferCount(bytes_max)),
        // One huge page more, so that buffers can begin on a huge page's boundary.
        mapping_bytes_(2 * kHugePageBytes + large_count_ * kLargeBufferBytes) {
    void* const mapping = mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return;
    mapping_ = static_cast<std::byte*>(mapping);
    const size_t misaligned = reinterpret_cast<uintptr_t>(mapping) % kHugePageBytes;
    std::byte* const first = mapping_ + (kHugePageBytes - misaligned) % kHugePageBytes;
    // Only a hint.
    madvise(first, mapping_bytes_ - kHugePageBytes, MADV_HUGEPAGE);
    small_.reserve(kSmallBufferCount);
    for (size_t i = 0; i < kSmallBufferCount; ++i) small_.push_back(first + i * kSmallBufferBytes);
    for (size_t i = 0; i < large_count_; ++i) {
      large_.push_back(first + kHugePageBytes + i * kLargeBufferBytes);
    }
  }
  ~DirectBuffers() {
    if (mapping_ != nullptr) munmap(mapping_, mapping_bytes_);
  }
  DirectBuffers(const DirectBuffers&) = delete;
  DirectBuffers& operator=(const DirectBuffers&) = delete;

  // A small one for so many bytes if they fit, else a large one; empty: all are in use.
  std::span<std::byte> Take(size_t bytes) {
    const bool is_small = bytes <= kSmallBufferBytes;
    const std::lock_guard lock(mutex_);
    std::vector<std::byte*>& free = is_small ? small_ : large_;
    if (free.empty()) return {};
    std::byte* const buffer = free.back();
    free.pop_back();
    if (is_small) {
      small_was_used_ = true;
    } else {
      large_used_max_ = std::max(large_used_max_, large_count_ - large_.size());
    }
    return {buffer, is_small ? kSmallBufferBytes : kLargeBufferBytes};
  }
  void GiveBack(std::span<std::byte> buffer) {
    const std::lock_guard lock(mutex_);
    (buffer.size() == kSmallBufferBytes ? small_ : large_).push_back(buffer.data());
  }

  // Memory of those that were used at some time.
  size_t used_bytes_max() const {
    const std::lock_guard lock(mutex_);
    const size_t large_bytes = large_used_max_ * kLargeBufferBytes;
    return (small_was_used_ ? kHugePageBytes : 0) +
           (large_bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  }

 private:
  static size_t LargeBufferCount(size_t bytes_max) {
    const size_t bytes = bytes_max - std::min(bytes_max, kHugePageBytes);
    return std::max(bytes / kLargeBufferBytes, kLargeBufferCountMin);
  }

  const size_t large_count_;
  const size_t mapping_bytes_;
  std::byte* mapping_ = nullptr;
  mutable std::mutex mutex_;
  bool small_was_used_ = false;
  size_t large_used_max_ = 0;  // at a time
  // The last one used first: it is touched.
  std::vector<std::byte*> small_;
  std::vector<std::byte*> large_;
};

namespace {

thread_local ReadAheadScope* thread_scope = nullptr;

}  // namespace

ReadAheadScope::ReadAheadScope(size_t bytes_ahead) : bytes_ahead_(bytes_ahead) {
  thread_scope = this;
}

ReadAheadScope::~ReadAheadScope() {
  thread_scope = nullptr;
  if (!buffer_.empty()) buffers_->GiveBack(buffer_);
}

class DirectFile : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  // Takes over the descriptor, which was opened with O_DIRECT; negative: there is none.
  DirectFile(std::unique_ptr<rocksdb::FSRandomAccessFile> usual, int direct,
             std::shared_ptr<DirectBuffers> buffers)
      : FSRandomAccessFileOwnerWrapper(std::move(usual)),
        direct_(direct),
        buffers_(std::move(buffers)) {}
  ~DirectFile() override {
    if (direct_ >= 0) close(direct_);
  }

  rocksdb::IOStatus Read(uint64_t offset, size_t bytes, const rocksdb::IOOptions& options,
                         rocksdb::Slice* result, char* scratch,
                         rocksdb::IODebugContext* debug) const override {
    const bool is_large = bytes >= kDirectBytesMin && scratch != nullptr;
    if (is_large &&
        (ReadFromScope(offset, bytes, options, scratch) || ReadDirectly(offset, bytes, scratch))) {
      *result = rocksdb::Slice(scratch, bytes);
      return rocksdb::IOStatus::OK();
    }
    return FSRandomAccessFileOwnerWrapper::Read(offset, bytes, options, result, scratch, debug);
  }

 private:
  // The following are false, and nothing is lost, if the range cannot be read this way or ends
  // behind the file.

  bool ReadFromScope(uint64_t offset, size_t bytes, const rocksdb::IOOptions& options,
                     char* target) const {
    ReadAheadScope* const scope = thread_scope;
    if (scope == nullptr || scope->bytes_ahead_ == 0) return false;
    if (!Has(*scope, offset, bytes)) Fill(scope, offset, bytes, options);
    if (!Has(*scope, offset, bytes)) return false;
    std::memcpy(target, &scope->bytes_[offset - scope->begin_], bytes);
    return true;
  }

  bool Has(const ReadAheadScope& scope, uint64_t offset, size_t bytes) const {
    return scope.file_number_ == number_ && offset >= scope.begin_ &&
           offset + bytes <= scope.begin_ + scope.bytes_.size();
  }

  // Reads the range and what lies behind it, as far as there is room.
  void Fill(ReadAheadScope* scope, uint64_t offset, size_t bytes,
            const rocksdb::IOOptions& options) const {
    scope->bytes_ = {};
    const size_t skipped = offset % kAlignment;
    const size_t wanted = bytes + scope->bytes_ahead_;
    if (scope->buffer_.empty()) {
      scope->buffers_ = buffers_;
      scope->buffer_ = buffers_->Take(AlignUp(skipped + wanted));
    }
    const std::span<std::byte> buffer =
        scope->buffer_.first(std::min(AlignUp(skipped + wanted), scope->buffer_.size()));
    if (buffer.size() < skipped + bytes) return;
    scope->file_number_ = number_;
    scope->begin_ = offset;
    if (direct_ >= 0 && !IsCached(direct_, offset, wanted)) {
      const ssize_t found =
          pread(direct_, buffer.data(), buffer.size(), static_cast<off_t>(offset - skipped));
      if (found <= static_cast<ssize_t>(skipped)) return;
      scope->bytes_ = buffer.first(static_cast<size_t>(found)).subspan(skipped);
      return;
    }
    rocksdb::Slice found;
    auto* const target = reinterpret_cast<char*>(buffer.data());
    const rocksdb::IOStatus status = FSRandomAccessFileOwnerWrapper::Read(
        offset, std::min(wanted, buffer.size()), options, &found, target, nullptr);
    if (status.ok() && found.data() == target) scope->bytes_ = buffer.first(found.size());
  }

  bool ReadDirectly(uint64_t offset, size_t bytes, char* target) const {
    if (direct_ < 0 || IsCached(direct_, offset, bytes)) return false;
    const std::span<std::byte> buffer = buffers_->Take(AlignUp(offset % kAlignment + bytes));
    if (buffer.empty()) return false;
    size_t done = 0;
    while (done < bytes) {
      const uint64_t begin = offset + done;
      const size_t skipped = begin % kAlignment;
      const size_t wanted = std::min(AlignUp(skipped + bytes - done), buffer.size());
      const ssize_t found =
          pread(direct_, buffer.data(), wanted, static_cast<off_t>(begin - skipped));
      if (found <= static_cast<ssize_t>(skipped)) break;
      const size_t count = std::min(static_cast<size_t>(found) - skipped, bytes - done);
      std::memcpy(target + done, &buffer[skipped], count);
      done += count;
      // Short within the file only at its end.
      if (static_cast<size_t>(found) < wanted) break;
    }
    buffers_->GiveBack(buffer);
    return done == bytes;
  }

  static uint64_t NextNumber() {
    static std::atomic<uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  const int direct_;
  const std::shared_ptr<DirectBuffers> buffers_;
  // Tells it from a file that was at this address before.
  const uint64_t number_ = NextNumber();
};

DirectReadFileSystem::DirectReadFileSystem(const std::shared_ptr<rocksdb::FileSystem>& base,
                                           size_t buffer_bytes_max)
    : FileSystemWrapper(base), buffers_(std::make_shared<DirectBuffers>(buffer_bytes_max)) {}

DirectReadFileSystem::~DirectReadFileSystem() = default;

size_t DirectReadFileSystem::buffer_bytes() const { return buffers_->used_bytes_max(); }

const char* DirectReadFileSystem::Name() const { return "DirectReadFileSystem"; }

rocksdb::IOStatus DirectReadFileSystem::NewRandomAccessFile(
    const std::string& path, const rocksdb::FileOptions& options,
    std::unique_ptr<rocksdb::FSRandomAccessFile>* file, rocksdb::IODebugContext* debug) {
  rocksdb::IOStatus status = FileSystemWrapper::NewRandomAccessFile(path, options, file, debug);
  if (!status.ok()) return status;
  const int direct = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  *file = std::make_unique<DirectFile>(std::move(*file), direct, buffers_);
  return status;
}

}  // namespace alaya
