#include "cuda/backend/batch_lane.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "cuda/backend/elapsed.h"
#include "cuda/kernels/sparse_sequence.cuh"
#include "storage/types/check.h"

namespace alaya {
namespace {

// Hands out parts of a buffer; from a null pointer it only counts.
class Pieces {
 public:
  explicit Pieces(std::byte* base) : base_(base) {}

  template <class T>
  T* Take(size_t count) {
    std::byte* const at = base_ == nullptr ? nullptr : base_ + bytes_;
    bytes_ += (count * sizeof(T) + 15) / 16 * 16;
    return reinterpret_cast<T*>(at);
  }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  size_t bytes_ = 0;
};

bool ShareALaunch(const LaneRequest& a, const LaneRequest& b) {
  return a.shape.head_dim == b.shape.head_dim && a.shape.query_count == b.shape.query_count &&
         a.options.scale == b.options.scale && a.options.log_alpha == b.options.log_alpha &&
         a.options.deviations == b.options.deviations &&
         a.options.rest_error == b.options.rest_error;
}

// What both need.
SparseShape Joined(SparseShape a, const SparseShape& b) {
  a.task_count += b.task_count;
  a.token_count = std::max(a.token_count, b.token_count);
  a.window_count = std::max(a.window_count, b.window_count);
  return a;
}

// Few sizes, so that sequences recorded for a batch serve the next ones, too.
SparseShape Rounded(SparseShape shape) {
  constexpr uint32_t kTokens = 4096;
  constexpr uint32_t kWindow = 128;
  shape.token_count = (shape.token_count + kTokens - 1) / kTokens * kTokens;
  shape.window_count = (shape.window_count + kWindow - 1) / kWindow * kWindow;
  return shape;
}

template <class T>
std::vector<T> Copy(const T* begin, size_t count) {
  return {begin, begin + count};
}

}  // namespace

// What goes to the device. Offers refer to tokens and counts behind them.
struct BatchLane::InputLayout {
  InputLayout(std::byte* base, const SparseShape& shape, size_t offer_count, size_t token_count) {
    Pieces pieces(base);
    tasks = pieces.Take<SparseTask>(shape.task_count);
    queries = pieces.Take<float>(size_t{shape.task_count} * shape.query_count * shape.head_dim);
    offers = pieces.Take<RowOffers>(offer_count);
    counts = pieces.Take<uint32_t>(offer_count);
    tokens = pieces.Take<uint32_t>(token_count);
    bytes = pieces.bytes();
  }
  SparseTask* tasks;
  float* queries;
  RowOffers* offers;
  uint32_t* counts;
  uint32_t* tokens;
  size_t bytes;
};

// What comes back.
struct BatchLane::OutputLayout {
  OutputLayout(std::byte* base, const SparseShape& shape, uint32_t missed_rows_max) {
    const size_t queries = size_t{shape.task_count} * shape.query_count;
    Pieces pieces(base);
    outputs = pieces.Take<float>(queries * shape.head_dim);
    log_sum_exps = pieces.Take<float>(queries);
    rest_shares = pieces.Take<float>(queries);
    tokens_attended = pieces.Take<uint32_t>(queries);
    rows_scored = pieces.Take<uint32_t>(shape.task_count);
    missed_counts = pieces.Take<uint32_t>(shape.task_count);
    missed = pieces.Take<uint32_t>(size_t{shape.task_count} * missed_rows_max);
    bytes = pieces.bytes();
  }
  float* outputs;
  float* log_sum_exps;
  float* rest_shares;
  uint32_t* tokens_attended;
  uint32_t* rows_scored;
  uint32_t* missed_counts;
  uint32_t* missed;
  size_t bytes;
};

struct BatchLane::Buffers {
  Buffers(std::unique_ptr<DeviceQueue> device_queue, PinnedBuffer input, PinnedBuffer output)
      : queue(std::move(device_queue)),
        host_input(std::move(input)),
        host_output(std::move(output)) {}

  std::unique_ptr<DeviceQueue> queue;
  PinnedBuffer host_input;
  PinnedBuffer host_output;
  PoolBlock device_block;  // step, input, output, scratch
  uint32_t* step = nullptr;
  std::byte* device_input = nullptr;
  std::byte* device_output = nullptr;
  std::byte* scratch = nullptr;
};

void BatchLane::AdmitBuffer::Clear() {
  used_bytes = 0;
  offers.clear();
  tokens.clear();
  parts.clear();
}

BatchLane::BatchLane(Device* device, const Options& options)
    : device_(*device), options_(options) {}

StatusOr<std::unique_ptr<BatchLane>> BatchLane::Create(Device* device, MemoryPool* pool,
                                                       const Options& options) {
  std::unique_ptr<BatchLane> lane(new BatchLane(device, options));
  ALAYA_RETURN_IF_ERROR(lane->Allocate(pool));
  return lane;
}

Status BatchLane::Allocate(MemoryPool* pool) {
  const SparseShape largest = {.head_dim = kHeadDimMaxOnDevice,
                               .task_count = options_.task_count_max,
                               .query_count = kTaskQueriesMax};
  // A row is at least 16 bytes, a key and a value.
  const size_t rows_max = options_.admit_bytes / 32;
  const size_t input_bytes = InputLayout(nullptr, largest, rows_max, rows_max).bytes;
  const size_t output_bytes = OutputLayout(nullptr, largest, options_.missed_rows_max).bytes;
  ALAYA_ASSIGN_OR_RETURN(std::unique_ptr<DeviceQueue> queue, device_.CreateQueue());
  ALAYA_ASSIGN_OR_RETURN(PinnedBuffer input, device_.AllocatePinned(input_bytes));
  ALAYA_ASSIGN_OR_RETURN(PinnedBuffer output, device_.AllocatePinned(output_bytes));
  for (AdmitBuffer& admit : admits_) {
    ALAYA_ASSIGN_OR_RETURN(admit.rows, device_.AllocatePinned(options_.admit_bytes));
  }
  buffers_ = std::make_unique<Buffers>(std::move(queue), std::move(input), std::move(output));
  constexpr size_t kAlignment = MemoryPool::kAlignment;
  ALAYA_ASSIGN_OR_RETURN(
      buffers_->device_block,
      pool->Allocate(kAlignment + MemoryPool::RoundUp(input_bytes) +
                     MemoryPool::RoundUp(output_bytes) + options_.scratch_bytes));
  std::byte* const base = device_.memory().data() + buffers_->device_block.offset();
  buffers_->step = reinterpret_cast<uint32_t*>(base);
  buffers_->device_input = base + kAlignment;
  buffers_->device_output = buffers_->device_input + MemoryPool::RoundUp(input_bytes);
  buffers_->scratch = buffers_->device_output + MemoryPool::RoundUp(output_bytes);
  return buffers_->queue->Clear(base, kAlignment);
}

BatchLane::~BatchLane() {
  if (buffers_ != nullptr) buffers_->queue->Finish().IgnoreError();
}

bool BatchLane::Fits(const SparseShape& shape) const {
  return shape.task_count <= options_.task_count_max && shape.query_count <= kTaskQueriesMax &&
         SparseScratch(nullptr, Rounded(shape)).bytes <= options_.scratch_bytes;
}

std::shared_ptr<BatchLane::Ticket> BatchLane::Begin(LaneRequest request) {
  ALAYA_CHECK(Fits(request.shape));
  auto ticket = std::make_shared<Ticket>(std::move(request));
  const std::lock_guard lock(mutex_);
  ++stats_.request_count;
  waiting_.push_back(ticket);
  LaunchIfIdle(/*is_overdue=*/false);
  return ticket;
}

StatusOr<const LaneAnswer*> BatchLane::Wait(Ticket* ticket) {
  std::unique_lock lock(mutex_);
  while (!ticket->is_done_) {
    if (!device_status_.ok()) return device_status_;
    if (!under_way_.empty()) {
      if (somebody_waits_) {
        changed_.wait(lock);
      } else {
        AwaitDevice(&lock);
      }
      continue;
    }
    // Idle, and company may come. Waking up would take longer than the wait.
    const bool is_overdue = Clock::now() >= ticket->arrival_ + kCompanyWait;
    LaunchIfIdle(is_overdue);
    if (!under_way_.empty() || !device_status_.ok()) continue;
    lock.unlock();
    std::this_thread::yield();
    lock.lock();
  }
  return ticket->wanted_too_many_rows_ ? nullptr : &ticket->answer_;
}

void BatchLane::OfferRows(const LaneRows& rows) {
  const size_t row_bytes = rows.cache.head_dim * ElementBytes(rows.dtype);
  const std::lock_guard lock(mutex_);
  AdmitBuffer& admit = admits_[admit_next_];
  const size_t room = (options_.admit_bytes - admit.used_bytes) / (2 * row_bytes);
  const size_t count = std::min<size_t>({rows.tokens.size(), room, AdmitRows::kOffersMax});
  const bool is_offered = std::ranges::any_of(
      admit.offers, [&](const RowOffers& offer) { return offer.cache.tags == rows.cache.tags; });
  if (count == 0 || rows.cache.set_count == 0 || is_offered) return;
  std::byte* const keys = admit.rows->data() + admit.used_bytes;
  std::byte* const values = keys + count * row_bytes;
  for (size_t i = 0; i < count; ++i) {
    std::memcpy(keys + i * row_bytes, rows.keys[i], row_bytes);
    std::memcpy(values + i * row_bytes, rows.values[i], row_bytes);
  }
  RowOffers offer;
  offer.cache = rows.cache;
  offer.capacity = static_cast<uint32_t>(count);
  offer.keys = {keys, row_bytes, rows.dtype};
  offer.values = {values, row_bytes, rows.dtype};
  admit.offers.push_back(offer);
  admit.tokens.push_back(Copy(rows.tokens.data(), count));
  admit.parts.push_back(rows.part);
  admit.used_bytes += 2 * count * row_bytes;
}

BatchLane::Stats BatchLane::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void BatchLane::LaunchIfIdle(bool is_overdue) {
  if (!under_way_.empty() || waiting_.empty() || !device_status_.ok()) return;
  if (!is_overdue && waiting_.size() < company_) return;
  under_way_ = TakeBatch();
  company_ = std::max(under_way_.size() + waiting_.size(), company_ - 1);
  ++stats_.batch_count;
  launched_at_ = Clock::now();
  const Status launched = Launch(shape_, under_way_.front()->request_.options);
  if (!launched.ok()) Fail(launched);
}

// The oldest request, and those that can share its launch.
std::vector<std::shared_ptr<BatchLane::Ticket>> BatchLane::TakeBatch() {
  std::vector<std::shared_ptr<Ticket>> batch;
  const LaneRequest& first = waiting_.front()->request_;
  SparseShape shape = first.shape;
  shape.task_count = 0;
  for (auto each = waiting_.begin(); each != waiting_.end();) {
    const LaneRequest& request = (*each)->request_;
    const SparseShape joined = Joined(shape, request.shape);
    if (!ShareALaunch(first, request) || !Fits(joined)) {
      ++each;
      continue;
    }
    shape = joined;
    batch.push_back(std::move(*each));
    each = waiting_.erase(each);
  }
  shape_ = Rounded(shape);
  return batch;
}

Status BatchLane::Launch(const SparseShape& shape, const SparseOptions& options) {
  const AdmitBuffer& admit = admits_[admit_next_];
  admit_next_ = (admit_next_ + 1) % admits_.size();
  admits_[admit_next_].Clear();
  size_t offered_tokens = 0;
  for (const auto& tokens : admit.tokens) offered_tokens += tokens.size();
  const InputLayout host(buffers_->host_input.data(), shape, admit.offers.size(), offered_tokens);
  const InputLayout input(buffers_->device_input, shape, admit.offers.size(), offered_tokens);
  const OutputLayout output(buffers_->device_output, shape, options_.missed_rows_max);
  SparseTask* next_task = host.tasks;
  float* next_query = host.queries;
  for (const auto& ticket : under_way_) {
    next_task = std::ranges::copy(ticket->request_.tasks, next_task).out;
    next_query = std::ranges::copy(ticket->request_.queries, next_query).out;
  }
  size_t place = 0;
  for (size_t i = 0; i < admit.offers.size(); ++i) {
    host.offers[i] = admit.offers[i];
    host.offers[i].missed = input.tokens + place;
    host.offers[i].count = input.counts + i;
    host.counts[i] = static_cast<uint32_t>(admit.tokens[i].size());
    std::ranges::copy(admit.tokens[i], host.tokens + place);
    place += admit.tokens[i].size();
  }

  DeviceQueue& queue = *buffers_->queue;
  SparseBatch batch;
  batch.tasks = input.tasks;
  batch.queries = input.queries;
  batch.scratch = buffers_->scratch;
  batch.outputs = output.outputs;
  batch.log_sum_exps = output.log_sum_exps;
  batch.rest_shares = output.rest_shares;
  batch.counts = {output.tokens_attended, output.rows_scored};
  batch.missed = {output.missed, output.missed_counts, options_.missed_rows_max};
  batch.step = buffers_->step;
  ALAYA_RETURN_IF_ERROR(
      queue.CopyToDevice(buffers_->host_input.bytes().first(host.bytes), buffers_->device_input));
  ALAYA_RETURN_IF_ERROR(queue.Attend(shape, options, batch));
  ALAYA_RETURN_IF_ERROR(
      queue.CopyToHost(buffers_->device_output, buffers_->host_output.bytes().first(output.bytes)));
  ALAYA_RETURN_IF_ERROR(queue.Mark());
  // Behind the mark: the answer does not wait for it.
  if (admit.offers.empty()) return OkStatus();
  return queue.AdmitRows(input.offers, static_cast<uint32_t>(admit.offers.size()), buffers_->step);
}

void BatchLane::AwaitDevice(std::unique_lock<std::mutex>* lock) {
  somebody_waits_ = true;
  lock->unlock();
  const Status waited = buffers_->queue->Wait();
  lock->lock();
  somebody_waits_ = false;
  if (waited.ok()) {
    Deliver();
    LaunchIfIdle(/*is_overdue=*/false);
  } else {
    Fail(waited);
  }
  changed_.notify_all();
}

void BatchLane::Deliver() {
  const uint64_t device_ns = NanosecondsSince(launched_at_);
  const OutputLayout output(buffers_->host_output.data(), shape_, options_.missed_rows_max);
  size_t task = 0;
  for (const auto& ticket : under_way_) {
    const size_t tasks = ticket->request_.tasks.size();
    const size_t first = task * shape_.query_count;
    const size_t queries = tasks * shape_.query_count;
    LaneAnswer& answer = ticket->answer_;
    answer.outputs = Copy(output.outputs + first * shape_.head_dim, queries * shape_.head_dim);
    answer.log_sum_exps = Copy(output.log_sum_exps + first, queries);
    answer.rest_shares = Copy(output.rest_shares + first, queries);
    answer.tokens_attended = Copy(output.tokens_attended + first, queries);
    answer.rows_scored = Copy(output.rows_scored + task, tasks);
    for (size_t i = task; i < task + tasks; ++i) {
      const uint32_t count = output.missed_counts[i];
      ticket->wanted_too_many_rows_ |= count > options_.missed_rows_max;
      answer.missed.push_back(Copy(output.missed + i * options_.missed_rows_max,
                                   std::min(count, options_.missed_rows_max)));
      std::ranges::sort(answer.missed.back(), {}, MissedToken);
    }
    answer.device_ns = device_ns;
    ticket->is_done_ = true;
    task += tasks;
  }
  under_way_.clear();
}

void BatchLane::Fail(const Status& status) {
  if (device_status_.ok()) device_status_ = status;
  under_way_.clear();
  waiting_.clear();
  changed_.notify_all();
}

}  // namespace alaya
