// Looks after files that may change, every second and when asked.

#ifndef ALAYA_SERVER_ACCESS_RELOAD_THREAD_H_
#define ALAYA_SERVER_ACCESS_RELOAD_THREAD_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace alaya {

class ReloadThread {
 public:
  // `reload(asked)` runs on a thread of its own.
  ReloadThread(std::chrono::milliseconds interval, std::function<void(bool asked)> reload);
  ~ReloadThread();
  ReloadThread(const ReloadThread&) = delete;
  ReloadThread& operator=(const ReloadThread&) = delete;

  // Reloads now. Returns at once. Threads: any.
  void Ask();

 private:
  void Run();

  const std::chrono::milliseconds interval_;
  const std::function<void(bool)> reload_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool asked_ = false;     // guarded by mutex_
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ACCESS_RELOAD_THREAD_H_
