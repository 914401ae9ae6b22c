// Options of the packaged RocksDB 7.8 that are left alone on purpose, having shown
// faults there: async_io, wal_compression, manual_wal_flush, recycle_log_file_num,
// TransactionDB, change_level. Blob files are not used: ingestion makes none, and
// reads through them are several times slower.

#include "storage/database/database.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <utility>

#include "rocksdb/convenience.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/sst_partitioner.h"
#include "rocksdb/table.h"
#include "rocksdb/utilities/checkpoint.h"
#include "storage/database/damaged_files.h"
#include "storage/database/direct_reads.h"
#include "storage/database/error_guard.h"
#include "storage/database/rocksdb_logger.h"
#include "storage/database/rocksdb_status.h"
#include "storage/page/page.h"

namespace alaya {
namespace {

constexpr char kCatalogFamily[] = "catalog";
constexpr char kPagesFamily[] = "pages";
constexpr char kFormatKey[] = "format";
constexpr char kFormat[] = "alayadb 2";

// Small, so that a write that fails on a full disk holds little back and heals by
// itself once there is room.
constexpr size_t kWriteBufferBytes = size_t{4} << 20;
// Pages shorter than this share a block; any other one is a block of its own, so that
// reading a page reads nothing else.
constexpr size_t kPageBlockBytes = size_t{4} << 10;
constexpr int kOpenFilesMax = 512;
constexpr std::chrono::milliseconds kReopenInterval{100};  // between tries of reads

rocksdb::DBOptions MakeDbOptions(const DatabaseOptions& wanted, rocksdb::Env* env,
                                 std::shared_ptr<rocksdb::EventListener> listener) {
  rocksdb::DBOptions options;
  options.env = env;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  // Never null: see rocksdb_logger.h.
  options.info_log = std::make_shared<RocksDbLogger>(wanted.log);
  options.listeners.push_back(std::move(listener));
  options.max_background_jobs = 2;
  // Descriptors are shared with connections, and running out of them stops gRPC 1.51
  // from accepting for ever.
  options.max_open_files = kOpenFilesMax;
  options.db_write_buffer_size = 4 * kWriteBufferBytes;
  options.max_total_wal_size = 8 * kWriteBufferBytes;
  // Starts writing back early, so that the sync at the end of a file is short.
  options.bytes_per_sync = uint64_t{1} << 20;
  // After a power cut the log's unsynced tail may be garbage: replay up to there.
  // What was acknowledged was synced and lies before it.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // Ingested files have no unique id, and every start would warn of each. Pages carry
  // their identity themselves.
  options.verify_sst_unique_id_in_manifest = false;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  // Who only reads shows what can be read, however damaged the rest.
  options.paranoid_checks = !wanted.read_only;
  options.skip_checking_sst_file_sizes_on_db_open = wanted.read_only;
  return options;
}

rocksdb::ColumnFamilyOptions MakeCatalogOptions() {
  rocksdb::BlockBasedTableOptions table;
  // Records are read once and kept in another form, those of tokens in the page cache.
  table.no_block_cache = true;
  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.write_buffer_size = kWriteBufferBytes;
  options.compression = rocksdb::kNoCompression;
  return options;
}

rocksdb::ColumnFamilyOptions MakePagesOptions() {
  rocksdb::BlockBasedTableOptions table;
  // The page cache is the cache; a second copy of every page would halve it.
  table.no_block_cache = true;
  table.block_size = kPageBlockBytes;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  // Whoever reads several pages says so (ReadPages).
  table.max_auto_readahead_size = 0;
  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.write_buffer_size = kWriteBufferBytes;
  // KV hardly compresses.
  options.compression = rocksdb::kNoCompression;
  // Files lie at the bottom from the start and leave whole: no compaction should
  // ever touch them for their age.
  options.ttl = 0;
  options.periodic_compaction_seconds = 0;
  // Should one happen all the same, a file still holds one segment only.
  options.sst_partitioner_factory =
      rocksdb::NewSstPartitionerFixedPrefixFactory(kSegmentKeyPrefixBytes);
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> Families() {
  return {{rocksdb::kDefaultColumnFamilyName, MakeCatalogOptions()},
          {kCatalogFamily, MakeCatalogOptions()},
          {kPagesFamily, MakePagesOptions()}};
}

Status RemoveLogs(rocksdb::Env* env, const std::string& directory) {
  std::vector<std::string> names;
  ALAYA_RETURN_IF_ERROR(FromRocksDb(env->GetChildren(directory, &names), "list " + directory));
  for (const std::string& name : names) {
    if (!name.ends_with(".log")) continue;
    ALAYA_RETURN_IF_ERROR(FromRocksDb(env->DeleteFile(directory + "/" + name), "remove " + name));
  }
  return OkStatus();
}

Status Closed() { return Unavailable("the database could not be opened again after an error"); }

std::span<const std::byte> Bytes(const rocksdb::Slice& slice) {
  return std::as_bytes(std::span(slice.data(), slice.size()));
}

// The segment that a page key names; nullopt for other keys.
std::optional<SegmentId> KeySegment(const std::string& key) {
  const StatusOr<PageId> id = DecodePageKey(std::as_bytes(std::span(key)));
  if (!id.ok()) return std::nullopt;
  return id->segment;
}

}  // namespace

struct Database::Impl {
  std::shared_ptr<ErrorGuard> errors;
  std::unique_ptr<rocksdb::Env> env;  // outlives db
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> families;  // default, catalog, pages
  rocksdb::Options page_file_options;
  bool read_only = false;
  std::shared_ptr<DirectReadFileSystem> direct_reads;  // null: a test's file system
  std::string directory;
  rocksdb::DBOptions db_options;
  // Held shared by every call, alone to open the database anew.
  mutable std::shared_mutex mutex;
  std::chrono::steady_clock::time_point last_reopen;  // by a read; guarded by mutex
  // Held while pages are dropped and while a checkpoint is made, before `mutex`. A
  // checkpoint takes the catalog first and the list of files later: pages that are
  // dropped between would be missing to contexts that were deleted between.
  std::mutex drop_mutex;

  ~Impl() { Close(); }
  void Close() {
    if (db == nullptr) return;
    for (rocksdb::ColumnFamilyHandle* family : families) db->DestroyColumnFamilyHandle(family);
    families.clear();
    db->Close().PermitUncheckedError();
    db.reset();
  }

  rocksdb::ColumnFamilyHandle* format() const { return families[0]; }
  rocksdb::ColumnFamilyHandle* catalog() const { return families[1]; }
  rocksdb::ColumnFamilyHandle* pages() const { return families[2]; }

  Status OpenFiles(const DatabaseFiles& files);
  // To be called with the lock that is to be held for a write. After an error that stopped
  // RocksDB, a full disk above all, opens it anew, once there is room.
  Status OpenForWriting(std::shared_lock<std::shared_mutex>* lock);
  // The same for a read: it needs an open database, not one that takes writes.
  Status OpenForReading(std::shared_lock<std::shared_mutex>* lock);
  Status Reopen();
  bool HasRoom() const;
  Status CheckFormat();
  StatusOr<bool> HasPages(const rocksdb::Slice& begin, const rocksdb::Slice& end) const;
  uint64_t Property(rocksdb::ColumnFamilyHandle* family, const std::string& name) const {
    uint64_t value = 0;
    db->GetIntProperty(family, name, &value);
    return value;
  }
};

// Room for what is in memory and for a new log.
bool Database::Impl::HasRoom() const {
  constexpr uint64_t kRoomBytes = 6 * kWriteBufferBytes;
  uint64_t free_bytes = 0;
  // Unknown is not full.
  const bool known = db_options.env->GetFreeSpace(directory, &free_bytes).ok();
  return !known || free_bytes >= kRoomBytes;
}

Status Database::Impl::OpenForWriting(std::shared_lock<std::shared_mutex>* lock) {
  if (!errors->stopped()) return OkStatus();
  lock->unlock();
  {
    const std::unique_lock alone(mutex);
    if (errors->stopped()) ALAYA_RETURN_IF_ERROR(Reopen());
  }
  lock->lock();
  // Closed: another thread tried it again since, and failed.
  return db == nullptr ? Closed() : OkStatus();
}

Status Database::Impl::OpenForReading(std::shared_lock<std::shared_mutex>* lock) {
  if (db != nullptr) return OkStatus();
  lock->unlock();
  {
    const std::unique_lock alone(mutex);
    // Every read of a disk that is still gone would try, and hold up the others.
    const auto now = std::chrono::steady_clock::now();
    if (db == nullptr && now - last_reopen > kReopenInterval) {
      last_reopen = now;
      Reopen().IgnoreError();
    }
  }
  lock->lock();
  return db == nullptr ? Closed() : OkStatus();
}

// Requires that nobody else holds the mutex.
Status Database::Impl::Reopen() {
  if (!HasRoom()) {
    return ResourceExhausted("the disk is full: " + directory + " takes reads and no writes");
  }
  Close();
  // It must remove files again while it opens.
  errors->Reopened();
  const Status opened = OpenFiles({db_options, Families(), directory});
  if (!opened.ok()) errors->Stop();
  return Annotate(opened, "after an error that stopped writing");
}

// A database without a format record is new, or creating it was cut short.
Status Database::Impl::CheckFormat() {
  std::string found;
  const rocksdb::Status read = db->Get({}, format(), kFormatKey, &found);
  if (read.IsNotFound()) {
    const std::unique_ptr<rocksdb::Iterator> record(db->NewIterator({}, catalog()));
    record->SeekToFirst();
    if (record->Valid()) return DataLoss(directory + ": the format record is missing");
    ALAYA_RETURN_IF_ERROR(FromRocksDb(record->status(), "read catalog"));
    if (read_only) return FailedPrecondition(directory + " holds no complete store");
    rocksdb::WriteOptions synced;
    synced.sync = true;
    return FromRocksDb(db->Put(synced, format(), kFormatKey, kFormat), "write format record");
  }
  ALAYA_RETURN_IF_ERROR(FromRocksDb(read, "read format record"));
  if (found == kFormat) return OkStatus();
  return FailedPrecondition(directory + " has format '" + found + "', this program reads '" +
                            kFormat + "'");
}

Database::Database(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Database::~Database() = default;

namespace {

// Errors: FailedPrecondition for the database of another program or format.
Status CheckFamilies(const DatabaseFiles& files) {
  std::vector<std::string> names;
  if (!rocksdb::DB::ListColumnFamilies(files.options, files.directory, &names).ok()) {
    return OkStatus();  // a new one; or opening it says what is wrong
  }
  for (const std::string& name : names) {
    const bool known = std::any_of(files.families.begin(), files.families.end(),
                                   [&](const auto& family) { return family.name == name; });
    if (!known) {
      return FailedPrecondition(files.directory + " holds the database of another program or " +
                                "format (column family '" + name + "')");
    }
  }
  return OkStatus();
}

}  // namespace

Status Database::Impl::OpenFiles(const DatabaseFiles& files) {
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status =
      read_only
          ? rocksdb::DB::OpenForReadOnly(files.options, files.directory, files.families, &families,
                                         &opened)
          : rocksdb::DB::Open(files.options, files.directory, files.families, &families, &opened);
  db.reset(opened);
  return FromRocksDb(status, "open database " + files.directory);
}

StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& directory,
                                                   const DatabaseOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->errors = std::make_shared<ErrorGuard>(options.log, options.on_damage);
  rocksdb::Env* const base = options.env != nullptr ? options.env : rocksdb::Env::Default();
  std::shared_ptr<rocksdb::FileSystem> files_of_base = base->GetFileSystem();
  // A test's file system must see all that is read.
  if (options.env == nullptr) {
    impl->direct_reads =
        std::make_shared<DirectReadFileSystem>(files_of_base, options.read_buffer_bytes_max);
    files_of_base = impl->direct_reads;
  }
  impl->env = rocksdb::NewCompositeEnv(
      std::make_shared<GuardedFileSystem>(files_of_base, impl->errors, directory));
  impl->read_only = options.read_only;
  impl->directory = directory;
  impl->db_options = MakeDbOptions(options, impl->env.get(), impl->errors);
  const rocksdb::DBOptions& db_options = impl->db_options;
  const std::vector<rocksdb::ColumnFamilyDescriptor> families = Families();
  const DatabaseFiles files{db_options, families, directory};
  ALAYA_RETURN_IF_ERROR(CheckFamilies(files));
  Status opened = impl->OpenFiles(files);
  if (!opened.ok() && !options.read_only && opened.code() != StatusCode::kResourceExhausted) {
    const StatusOr<size_t> damaged_count = SetDamagedFilesAside(files, options.log);
    // Damage elsewhere is not to be worked around: the first error says what it is.
    if (damaged_count.ok() && *damaged_count > 0) {
      if (options.on_damage) {
        options.on_damage(std::to_string(*damaged_count) +
                          " files of pages could not be opened: " + std::string(Message(opened)));
      }
      opened = impl->OpenFiles(files);
    }
  }
  ALAYA_RETURN_IF_ERROR(opened);
  impl->page_file_options = rocksdb::Options(db_options, MakePagesOptions());
  // One page is written at a time and is larger than most buffers help with.
  impl->page_file_options.writable_file_max_buffer_size = size_t{256} << 10;
  ALAYA_RETURN_IF_ERROR(impl->CheckFormat());
  return std::unique_ptr<Database>(new Database(std::move(impl)));
}

Status Database::WriteCatalog(const CatalogBatch& batch) {
  std::shared_lock lock(impl_->mutex);
  ALAYA_RETURN_IF_ERROR(impl_->OpenForWriting(&lock));
  rocksdb::WriteBatch writes;
  for (const auto& [key, value] : batch.puts) {
    ALAYA_RETURN_IF_ERROR(
        FromRocksDb(writes.Put(impl_->catalog(), key, value), "fill a catalog batch"));
  }
  for (const std::string& key : batch.erases) {
    ALAYA_RETURN_IF_ERROR(
        FromRocksDb(writes.Delete(impl_->catalog(), key), "fill a catalog batch"));
  }
  rocksdb::WriteOptions synced;
  synced.sync = true;
  return FromRocksDb(impl_->db->Write(synced, &writes), "write catalog");
}

Status Database::ScanCatalog(
    const std::function<Status(std::string_view, std::string_view)>& visit) const {
  std::shared_lock lock(impl_->mutex);
  ALAYA_RETURN_IF_ERROR(impl_->OpenForReading(&lock));
  const std::unique_ptr<rocksdb::Iterator> record(impl_->db->NewIterator({}, impl_->catalog()));
  for (record->SeekToFirst(); record->Valid(); record->Next()) {
    ALAYA_RETURN_IF_ERROR(visit({record->key().data(), record->key().size()},
                                {record->value().data(), record->value().size()}));
  }
  return FromRocksDb(record->status(), "read catalog");
}

Status Database::ReadCatalog(const std::string& key,
                             const std::function<Status(std::string_view)>& use) const {
  std::shared_lock lock(impl_->mutex);
  ALAYA_RETURN_IF_ERROR(impl_->OpenForReading(&lock));
  rocksdb::PinnableSlice value;
  ALAYA_RETURN_IF_ERROR(
      FromRocksDb(impl_->db->Get({}, impl_->catalog(), key, &value), "read catalog record"));
  return use({value.data(), value.size()});
}

Status Database::IngestPages(const std::vector<std::string>& files) {
  std::shared_lock lock(impl_->mutex);
  ALAYA_RETURN_IF_ERROR(impl_->OpenForWriting(&lock));
  rocksdb::IngestExternalFileOptions options;
  options.move_files = true;
  // Keys are new, so no sequence number has to be written into the files.
  options.write_global_seqno = false;
  return FromRocksDb(impl_->db->IngestExternalFile(impl_->pages(), files, options), "ingest pages");
}

Status Database::ReadPage(const std::string& key,
                          const std::function<Status(std::span<const std::byte>)>& use) const {
  std::shared_lock lock(impl_->mutex);
  ALAYA_RETURN_IF_ERROR(impl_->OpenForReading(&lock));
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  // RocksDB's block checksum stays on although ours covers the page: the library is
  // built with asserts, and parsing a damaged block could end the process.
  options.verify_checksums = true;
  rocksdb::PinnableSlice stored;
  ALAYA_RETURN_IF_ERROR(
      FromRocksDb(impl_->db->Get(options, impl_->pages(), key, &stored), "read page"));
  return use(Bytes(stored));
}

Status Database::ReadPages(
    const std::string& first, const std::string& last, size_t bytes_behind_first,
    const std::function<void(std::string_view, std::span<const std::byte>)>& use) const {
  std::shared_lock lock(impl_->mutex);
  ALAYA_RETURN_IF_ERROR(impl_->OpenForReading(&lock));
  const std::string end_key = last + '\0';
  const rocksdb::Slice end(end_key);
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  options.verify_checksums = true;  // as in ReadPage
  // RocksDB would read so much more than the first block.
  const ReadAheadScope read_ahead(bytes_behind_first);
  if (impl_->direct_reads == nullptr) options.readahead_size = bytes_behind_first;
  options.iterate_upper_bound = &end;
  const std::unique_ptr<rocksdb::Iterator> page(impl_->db->NewIterator(options, impl_->pages()));
  for (page->Seek(first); page->Valid(); page->Next()) {
    use({page->key().data(), page->key().size()}, Bytes(page->value()));
  }
  return FromRocksDb(page->status(), "read pages");
}

StatusOr<bool> Database::Impl::HasPages(const rocksdb::Slice& begin,
                                        const rocksdb::Slice& end) const {
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &end;
  const std::unique_ptr<rocksdb::Iterator> page(db->NewIterator(options, pages()));
  page->Seek(begin);
  ALAYA_RETURN_IF_ERROR(FromRocksDb(page->status(), "look for pages"));
  return page->Valid();
}

Status Database::DropSegment(SegmentId segment) {
  const std::lock_guard drop_lock(impl_->drop_mutex);
  std::shared_lock lock(impl_->mutex);
  ALAYA_RETURN_IF_ERROR(impl_->OpenForWriting(&lock));
  const std::string begin_key = SegmentKeyBegin(segment);
  const std::string end_key = SegmentKeyEnd(segment);
  const rocksdb::Slice begin(begin_key);
  const rocksdb::Slice end(end_key);
  const rocksdb::RangePtr range(&begin, &end);
  ALAYA_RETURN_IF_ERROR(
      FromRocksDb(rocksdb::DeleteFilesInRanges(impl_->db.get(), impl_->pages(), &range, 1,
                                               /*include_end=*/false),
                  "drop page files"));
  // Files of level 0, or being compacted, are left by that call. Tombstones are kept
  // for them: in the memtable they would make later ingestions wait.
  ALAYA_ASSIGN_OR_RETURN(const bool leftover, impl_->HasPages(begin, end));
  if (!leftover) return OkStatus();
  ALAYA_RETURN_IF_ERROR(
      FromRocksDb(impl_->db->DeleteRange({}, impl_->pages(), begin, end), "drop pages"));
  rocksdb::CompactRangeOptions options;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  return FromRocksDb(impl_->db->CompactRange(options, impl_->pages(), &begin, &end),
                     "compact dropped pages");
}

std::vector<SegmentId> Database::StoredSegments() const {
  const std::shared_lock lock(impl_->mutex);
  if (impl_->db == nullptr) return {};
  rocksdb::ColumnFamilyMetaData metadata;
  impl_->db->GetColumnFamilyMetaData(impl_->pages(), &metadata);
  std::set<SegmentId> segments;
  for (const rocksdb::LevelMetaData& level : metadata.levels) {
    for (const rocksdb::SstFileMetaData& file : level.files) {
      // A file holds one segment (see the partitioner); its two ends say which.
      for (const std::string& key : {file.smallestkey, file.largestkey}) {
        if (const auto segment = KeySegment(key)) segments.insert(*segment);
      }
    }
  }
  return {segments.begin(), segments.end()};
}

Status Database::CompactCatalog() {
  std::shared_lock lock(impl_->mutex);
  ALAYA_RETURN_IF_ERROR(impl_->OpenForWriting(&lock));
  rocksdb::CompactRangeOptions options;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  return FromRocksDb(impl_->db->CompactRange(options, impl_->catalog(), nullptr, nullptr),
                     "compact catalog");
}

Status Database::Checkpoint(const std::string& directory) {
  const std::lock_guard drop_lock(impl_->drop_mutex);
  std::shared_lock lock(impl_->mutex);
  ALAYA_RETURN_IF_ERROR(impl_->OpenForWriting(&lock));
  rocksdb::Checkpoint* created = nullptr;
  ALAYA_RETURN_IF_ERROR(
      FromRocksDb(rocksdb::Checkpoint::Create(impl_->db.get(), &created), "make a checkpoint"));
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(created);
  // Flushed first, and by its own limit once more (0: always flush): a copied log
  // would be the log of a database that goes on writing it.
  ALAYA_RETURN_IF_ERROR(FromRocksDb(impl_->db->Flush({}, impl_->families), "flush"));
  ALAYA_RETURN_IF_ERROR(
      FromRocksDb(checkpoint->CreateCheckpoint(directory, /*log_size_for_flush=*/0),
                  "make a checkpoint in " + directory));
  // The log was copied later than the list of files: it may commit contexts whose pages
  // were ingested between. Without it the copy is what was flushed.
  return RemoveLogs(impl_->env.get(), directory);
}

bool Database::read_only() const { return impl_->read_only; }

DatabaseStats Database::stats() const {
  const std::shared_lock lock(impl_->mutex);
  DatabaseStats stats;
  stats.write_stopped = impl_->errors->stopped();
  for (rocksdb::ColumnFamilyHandle* family : impl_->families) {
    stats.disk_bytes += impl_->Property(family, rocksdb::DB::Properties::kTotalSstFilesSize);
    stats.pending_compaction_bytes +=
        impl_->Property(family, rocksdb::DB::Properties::kEstimatePendingCompactionBytes);
    // One rate for all families.
    stats.delayed_write_bytes_per_second =
        impl_->Property(family, rocksdb::DB::Properties::kActualDelayedWriteRate);
    stats.write_stopped |= impl_->Property(family, rocksdb::DB::Properties::kIsWriteStopped) != 0;
  }
  stats.background_errors = impl_->errors->count();
  return stats;
}

DatabaseMemory Database::memory() const {
  constexpr uint64_t kFileBytes = 700;  // of RocksDB's lists, as a heap profile says
  constexpr int kLevelCount = 7;
  const std::shared_lock lock(impl_->mutex);
  DatabaseMemory memory;
  if (impl_->direct_reads != nullptr)
    memory.read_buffer_bytes = impl_->direct_reads->buffer_bytes();
  for (rocksdb::ColumnFamilyHandle* family : impl_->families) {
    memory.write_buffer_bytes +=
        impl_->Property(family, rocksdb::DB::Properties::kSizeAllMemTables);
    memory.file_bytes += impl_->Property(family, rocksdb::DB::Properties::kEstimateTableReadersMem);
    for (int level = 0; level < kLevelCount; ++level) {
      std::string count;
      const std::string name =
          rocksdb::DB::Properties::kNumFilesAtLevelPrefix + std::to_string(level);
      if (!impl_->db->GetProperty(family, name, &count)) continue;
      memory.file_bytes += kFileBytes * std::strtoull(count.c_str(), nullptr, 10);
    }
  }
  return memory;
}

const rocksdb::Options& Database::page_file_options() const { return impl_->page_file_options; }

}  // namespace alaya
