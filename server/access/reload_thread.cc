#include "server/access/reload_thread.h"

#include <pthread.h>

#include <utility>

namespace alaya {

ReloadThread::ReloadThread(std::chrono::milliseconds interval, std::function<void(bool)> reload)
    : interval_(interval), reload_(std::move(reload)), thread_([this] { Run(); }) {}

ReloadThread::~ReloadThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void ReloadThread::Ask() {
  {
    const std::lock_guard lock(mutex_);
    asked_ = true;
  }
  changed_.notify_one();
}

void ReloadThread::Run() {
  pthread_setname_np(pthread_self(), "reload");
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait_for(lock, interval_, [this] { return asked_ || stopping_; });
    if (stopping_) return;
    const bool asked = std::exchange(asked_, false);
    lock.unlock();
    reload_(asked);
    lock.lock();
  }
}

}  // namespace alaya
