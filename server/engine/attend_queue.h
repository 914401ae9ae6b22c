// The way of attention items through the engine: admitted, queued on their session's
// strand, run, answered.

#ifndef ALAYA_SERVER_ENGINE_ATTEND_QUEUE_H_
#define ALAYA_SERVER_ENGINE_ATTEND_QUEUE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "server/engine/admission.h"
#include "server/engine/attend_runner.h"
#include "server/engine/engine.h"
#include "server/engine/session.h"
#include "server/engine/session_table.h"
#include "server/engine/tenant_quota.h"
#include "server/engine/worker_pool.h"

namespace alaya {

// Threads: any.
class AttendQueue {
 public:
  // All pointers must outlive every answer.
  AttendQueue(Admission* admission, const SessionTable* sessions, AttendRunner runner,
              const Clock* clock, WorkerPool* pool, const TenantQuota* tenants)
      : admission_(admission),
        sessions_(sessions),
        runner_(runner),
        clock_(clock),
        pool_(pool),
        tenants_(tenants) {}

  // Engine::Attend.
  void Attend(AttendItem item, Deadline deadline, std::function<bool()> cancelled,
              std::function<void(AttendResult)> done);

  uint64_t attended_tokens() const { return attended_tokens_.load(std::memory_order_relaxed); }
  uint64_t scored_tokens() const { return scored_tokens_.load(std::memory_order_relaxed); }

 private:
  struct Job;

  // Why an item of the account, which counts already, should not even wait; OK if it should.
  Status CheckLoad(const TenantAccount& account, Deadline deadline) const;
  double WaitUs(uint64_t ahead) const;
  void AnswerWithError(std::shared_ptr<Job> job, Status status);
  void Run(Job* job, Session* session);

  Admission* admission_;
  const SessionTable* sessions_;
  AttendRunner runner_;
  const Clock* clock_;
  WorkerPool* pool_;
  const TenantQuota* tenants_;
  std::atomic<double> run_us_{0};  // of an item, lately
  std::atomic<uint64_t> attended_tokens_{0};
  std::atomic<uint64_t> scored_tokens_{0};
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_ATTEND_QUEUE_H_
