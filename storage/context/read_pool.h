// Threads that wait for the disk, so that many reads are under way at a time: a disk
// serves scattered pages ten times faster sixteen at a time than one by one.
//
// Two queues: what somebody waits for goes before what will be needed later. Of the latter
// only so many calls are under way at a time that the disk does not have much to do before it
// comes to a read that somebody waits for.

#ifndef ALAYA_STORAGE_CONTEXT_READ_POOL_H_
#define ALAYA_STORAGE_CONTEXT_READ_POOL_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace alaya {

class ReadPool {
 public:
  // Called with 0 .. count - 1, by several threads at a time.
  using Task = std::function<void(size_t i)>;
  // What announced calls are for, as two numbers of whoever announces them.
  using Purpose = std::pair<uint64_t, uint64_t>;

  // At most announced_max threads are with announced calls at a time, at least 1.
  ReadPool(size_t thread_count, size_t announced_max);
  // What was announced and is not begun is dropped.
  ~ReadPool();
  ReadPool(const ReadPool&) = delete;
  ReadPool& operator=(const ReadPool&) = delete;

  struct Batch;

  // Calls that somebody waits for.
  class Pending {
   public:
    Pending() = default;
    Pending(ReadPool* pool, std::shared_ptr<Batch> batch) : pool_(pool), batch_(std::move(batch)) {}
    Pending(Pending&&) = default;
    Pending& operator=(Pending&& other) noexcept {
      Wait();
      pool_ = other.pool_;
      batch_ = std::move(other.batch_);
      return *this;
    }
    ~Pending() { Wait(); }

    // Returns when all calls have ended; the calling thread makes some of them.
    void Wait();

   private:
    ReadPool* pool_ = nullptr;
    std::shared_ptr<Batch> batch_;  // null: nothing to wait for
  };

  Pending Start(size_t count, Task task);
  // Returns when all calls have ended; the calling thread makes some of them.
  void RunAll(size_t count, const Task& task);
  // Calls later, in the order of the announcements. Nothing happens if too much is
  // announced already: whoever needs the pages reads them then.
  void Announce(size_t count, Task task, const Purpose& purpose = {});
  // Leaves out those of the calls announced for this that have not begun.
  void DropAnnounced(const Purpose& purpose);

  size_t announced_count() const;

 private:
  using Queue = std::deque<std::shared_ptr<Batch>>;

  void Wait(const std::shared_ptr<Batch>& batch);

  // All of these require mutex_.
  void WakeUpTo(size_t count);
  Queue* NextQueue();
  void RunOne(Queue* queue, std::unique_lock<std::mutex>* lock);
  void Work();

  const size_t announced_max_;
  mutable std::mutex mutex_;
  std::condition_variable added_;
  std::condition_variable ended_;
  Queue awaited_;  // guarded by mutex_, as what follows
  Queue announced_;
  size_t announced_count_ = 0;    // calls that are announced and not begun
  size_t announced_running_ = 0;  // and that have begun and not ended
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace alaya

#endif  // ALAYA_STORAGE_CONTEXT_READ_POOL_H_
