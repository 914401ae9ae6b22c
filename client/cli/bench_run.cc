#include "client/cli/bench_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <latch>
#include <mutex>
#include <thread>

#include "client/cli/random_vectors.h"
#include "client/rpc_status.h"
#include "client/tensor.h"

namespace alaya::client {
namespace {

using Clock = std::chrono::steady_clock;

StatusOr<AttendSample> SampleOf(const pb::AttendResponse& response, double client_microseconds,
                                uint32_t num_query_heads) {
  if (response.results_size() != 1) return Internal("one item was sent, not one result came back");
  ALAYA_RETURN_IF_ERROR(ToStatus(response.results(0).status()));
  const pb::AttendStats& stats = response.results(0).stats();
  AttendSample sample;
  sample.client = client_microseconds;
  sample.engine = stats.engine_microseconds();
  sample.queue = stats.queue_microseconds();
  sample.search = stats.search_microseconds();
  sample.attend = stats.attend_microseconds();
  sample.tokens_attended = static_cast<double>(stats.tokens_attended()) / num_query_heads;
  sample.tokens_scored = static_cast<double>(stats.tokens_scored()) / num_query_heads;
  return sample;
}

// One thread: a stream, and the sessions that are dealt to it.
class Decoder {
 public:
  Decoder(const Client& client, const BenchPlan& plan, std::vector<std::string> session_ids,
          uint64_t seed)
      : plan_(plan),
        session_ids_(std::move(session_ids)),
        random_(seed),
        stream_(client.Attend()) {}

  Status Run(uint32_t step_count) {
    for (uint32_t step = 0; step < step_count; ++step) {
      for (uint32_t layer = 0; layer < plan_.layer_count; ++layer) {
        ALAYA_RETURN_IF_ERROR(AttendLayer(layer));
      }
    }
    return OkStatus();
  }

  std::vector<AttendSample>& samples() { return samples_; }

 private:
  // Sends the layer for all sessions and waits for all answers.
  Status AttendLayer(uint32_t layer) {
    std::vector<pb::AttendRequest> requests;
    for (const std::string& session_id : session_ids_) {
      ALAYA_ASSIGN_OR_RETURN(requests.emplace_back(), MakeRequest(session_id, layer));
    }
    std::latch answered(static_cast<std::ptrdiff_t>(requests.size()));
    for (pb::AttendRequest& request : requests) {
      const Clock::time_point start = Clock::now();
      stream_.Send(std::move(request), [&, start](const StatusOr<pb::AttendResponse>& response) {
        const std::chrono::duration<double, std::micro> elapsed = Clock::now() - start;
        Record(response, elapsed.count());
        answered.count_down();
      });
    }
    answered.wait();
    const std::lock_guard lock(mutex_);
    return first_error_;
  }

  StatusOr<pb::AttendRequest> MakeRequest(const std::string& session_id, uint32_t layer) {
    pb::AttendRequest request;
    pb::AttendItem& item = *request.add_items();
    item.set_session_id(session_id);
    item.set_layer(layer);
    *item.mutable_options() = plan_.options;
    const pb::Model& model = plan_.model;
    ALAYA_ASSIGN_OR_RETURN(const DType dtype, FromProto(model.dtype()));
    const auto random_tensor = [&](uint32_t heads, float deviation) {
      elements_.resize(size_t{heads} * model.head_dim());
      random_.Fill(deviation, elements_);
      return MakeTensor(elements_, 1, heads, model.head_dim(), dtype);
    };
    ALAYA_ASSIGN_OR_RETURN(*item.mutable_query(),
                           random_tensor(model.num_query_heads(), plan_.query_deviation));
    ALAYA_ASSIGN_OR_RETURN(*item.mutable_key(), random_tensor(model.num_kv_heads(), 1.0F));
    ALAYA_ASSIGN_OR_RETURN(*item.mutable_value(), random_tensor(model.num_kv_heads(), 1.0F));
    return request;
  }

  void Record(const StatusOr<pb::AttendResponse>& response, double client_microseconds) {
    StatusOr<AttendSample> sample =
        response.ok() ? SampleOf(*response, client_microseconds, plan_.model.num_query_heads())
                      : response.status();
    const std::lock_guard lock(mutex_);
    if (sample.ok()) {
      samples_.push_back(*sample);
    } else if (first_error_.ok()) {
      first_error_ = sample.status();
    }
  }

  const BenchPlan& plan_;
  const std::vector<std::string> session_ids_;
  RandomVectors random_;
  std::vector<float> elements_;

  std::mutex mutex_;
  std::vector<AttendSample> samples_;
  Status first_error_;

  // Last: its callbacks use the members above until it is gone.
  AttendStream stream_;
};

}  // namespace

StatusOr<BenchResult> RunBench(const Client& client, const BenchPlan& plan) {
  const size_t session_count = plan.session_ids.size();
  const size_t thread_count = std::clamp<size_t>(plan.thread_count, 1, session_count);
  std::vector<std::unique_ptr<Decoder>> decoders;
  for (size_t i = 0; i < thread_count; ++i) {
    std::vector<std::string> mine;
    for (size_t s = i; s < session_count; s += thread_count) mine.push_back(plan.session_ids[s]);
    decoders.push_back(std::make_unique<Decoder>(client, plan, std::move(mine), plan.seed + i));
  }
  const auto run_all = [&](uint32_t step_count) {
    std::vector<Status> statuses(thread_count);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < thread_count; ++i) {
      threads.emplace_back([&, i] { statuses[i] = decoders[i]->Run(step_count); });
    }
    for (std::thread& thread : threads) thread.join();
    for (const Status& status : statuses) ALAYA_RETURN_IF_ERROR(status);
    return OkStatus();
  };
  ALAYA_RETURN_IF_ERROR(run_all(plan.warmup_step_count));
  for (const auto& decoder : decoders) decoder->samples().clear();
  const Clock::time_point start = Clock::now();
  ALAYA_RETURN_IF_ERROR(run_all(plan.step_count));
  const std::chrono::duration<double> elapsed = Clock::now() - start;

  BenchResult result;
  result.wall_seconds = elapsed.count();
  for (const auto& decoder : decoders) {
    result.samples.insert(result.samples.end(), decoder->samples().begin(),
                          decoder->samples().end());
  }
  return result;
}

double Percentile(std::vector<double>& samples, double share) {
  if (samples.empty()) return 0;
  std::ranges::sort(samples);
  const auto rank = std::ceil(share * static_cast<double>(samples.size()));
  const auto index = static_cast<size_t>(std::max(rank, 1.0)) - 1;
  return samples[std::min(index, samples.size() - 1)];
}

}  // namespace alaya::client
