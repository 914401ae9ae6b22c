#include "server/engine/attend_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "server/engine/quota_error.h"

namespace alaya {
namespace {

using std::chrono::steady_clock;

constexpr size_t kPredictedItemsPerThread = 4;

double Microseconds(steady_clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

}  // namespace

struct AttendQueue::Job {
  AttendItem item;
  Deadline deadline;
  std::function<bool()> cancelled;  // may be null
  std::function<void(AttendResult)> done;
  Admission::Ticket ticket;
  TenantAccount::Share share = {};
  steady_clock::time_point arrival = steady_clock::now();

  // Why the item need not start; OK if it should.
  Status Refusal() const {
    if (cancelled && cancelled())
      return MakeError(StatusCode::kCancelled, "cancelled before start");
    if (deadline != Deadline::max() && steady_clock::now() >= deadline) {
      return MakeError(StatusCode::kDeadlineExceeded, "deadline passed before start");
    }
    return OkStatus();
  }
};

void AttendQueue::Attend(AttendItem item, Deadline deadline, std::function<bool()> cancelled,
                         std::function<void(AttendResult)> done) {
  const auto job = std::make_shared<Job>(
      Job{std::move(item), deadline, std::move(cancelled), std::move(done), Admission::Ticket()});
  StatusOr<Admission::Ticket> ticket = admission_->Enter();
  if (!ticket.ok()) return AnswerWithError(job, ticket.status());
  job->ticket = *std::move(ticket);
  StatusOr<std::shared_ptr<Session>> found =
      sessions_->Find(job->item.tenant, job->item.session_id);
  if (!found.ok()) return AnswerWithError(job, found.status());

  std::shared_ptr<Session> session = *std::move(found);
  StatusOr<TenantAccount::Share> share =
      TenantAccount::TakeShare(session->account(), QuotaKind::kAttendItems, 1);
  if (!share.ok()) return AnswerWithError(job, share.status());
  if (Status refused = CheckLoad(*session->account(), deadline); !refused.ok()) {
    return AnswerWithError(job, std::move(refused));
  }
  job->share = *std::move(share);
  Strand& strand = session->strand();
  strand.Post([this, job, session = std::move(session)] {
    Run(job.get(), session.get());
    // The strand may keep this task for a moment; the drain must not wait for that.
    job->ticket = Admission::Ticket();
  });
}

double AttendQueue::WaitUs(uint64_t ahead) const {
  return run_us_.load(std::memory_order_relaxed) * static_cast<double>(ahead) /
         static_cast<double>(std::max<size_t>(1, pool_->thread_count()));
}

Status AttendQueue::CheckLoad(const TenantAccount& account, Deadline deadline) const {
  // Who waits until its deadline is near gets no answer in time, and keeps others waiting
  // until they are late as well. Of a short queue nothing is predicted: the mean of few
  // items says little.
  const uint64_t all = tenants_->total().used(QuotaKind::kAttendItems);
  if (deadline == Deadline::max() || all <= kPredictedItemsPerThread * pool_->thread_count()) {
    return OkStatus();
  }
  const double left_us = Microseconds(deadline - steady_clock::now());
  if (WaitUs(all) <= left_us) return OkStatus();
  // The tenants have equal shares of the time: what waits of others may come later.
  const uint64_t ahead = tenants_->AheadOf(account, QuotaKind::kAttendItems);
  const double wait_us = WaitUs(ahead);
  if (wait_us <= left_us) return OkStatus();
  return QuotaError(
      {.subject = TenantQuota::kTotalSubject,
       .description = fmt::format("overload: {} attention items come first and take about {:.0f} "
                                  "ms, the deadline is in {:.0f} ms",
                                  ahead, wait_us / 1000, std::max(0.0, left_us) / 1000),
       .retry_after = std::chrono::ceil<std::chrono::milliseconds>(
           std::chrono::duration<double, std::micro>(wait_us))});
}

void AttendQueue::AnswerWithError(std::shared_ptr<Job> job, Status status) {
  pool_->Post([job = std::move(job), status = std::move(status)] {
    AttendResult result;
    result.status = status;
    job->done(std::move(result));
  });
}

void AttendQueue::Run(Job* job, Session* session) {
  const auto start = steady_clock::now();
  AttendResult result;
  result.status = job->Refusal();
  if (result.status.ok()) {
    result = runner_.Run(job->item, session);
    // One in sixteen: an item of a second shows, and a single one does not rule.
    const double run_us = Microseconds(steady_clock::now() - start);
    const double mean_us = run_us_.load(std::memory_order_relaxed);
    run_us_.store(mean_us == 0 ? run_us : mean_us + (run_us - mean_us) / 16,
                  std::memory_order_relaxed);
    if (result.status.ok()) {
      session->Publish(clock_->now());
      session->Touch(clock_->steady_now());
      attended_tokens_.fetch_add(result.stats.tokens_attended, std::memory_order_relaxed);
      scored_tokens_.fetch_add(result.stats.tokens_scored, std::memory_order_relaxed);
    }
  }
  result.stats.queue_us = Microseconds(start - job->arrival);
  result.stats.engine_us = Microseconds(steady_clock::now() - job->arrival);
  job->share.Release();
  job->done(std::move(result));
}

}  // namespace alaya
