// What is left of a server's capacity when more is asked of it than it can do.
//
//   overload_bench [--tiny]
//
// First the capacity: as many calls at a time as keep all cores busy. Then an open loop:
// calls start by the clock at 0.5, 1, 2 and 4 times that rate, whatever became of earlier
// ones, each an Attend stream of its own with one item (full attention over 16K tokens, the
// standard shape) and a deadline of 500 ms. Goodput is what was answered rightly in time;
// what is refused or late is waste. Memory is the server's largest resident set.

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "alaya/v1/session_service.grpc.pb.h"
#include "client/client.h"
#include "client/tensor.h"
#include "storage/types/status.h"
#include "tests/benchmarks/benchmark_main.h"
#include "tests/support/attention_workload.h"
#include "tests/support/quality.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace alaya {
namespace {

namespace pb = ::alaya::v1;
using Clock = std::chrono::steady_clock;

constexpr size_t kSessions = 64;
constexpr size_t kChannels = 8;
constexpr auto kDeadline = std::chrono::milliseconds(500);
constexpr uint32_t kLayer = 0;

struct Plan {
  uint64_t context_tokens = 16384;
  std::chrono::milliseconds duration{10'000};  // of each load
  // Not a figure, only a check that nothing collapses.
  double goodput_share_min = 0.8;
};

struct Tally {
  std::atomic<uint64_t> good{0};
  std::atomic<uint64_t> refused{0};
  std::atomic<uint64_t> late{0};
  std::atomic<uint64_t> other{0};
  std::atomic<int64_t> open{0};
  std::mutex mutex;
  std::vector<double> good_ms;  // latencies; guarded by mutex
};

// One call with one item; deletes itself.
class Call final : public grpc::ClientBidiReactor<pb::AttendRequest, pb::AttendResponse> {
 public:
  Call(pb::SessionService::Stub* stub, pb::AttendRequest request, Tally* tally)
      : request_(std::move(request)), tally_(tally) {
    ++tally_->open;
    context_.set_deadline(std::chrono::system_clock::now() + kDeadline);
    stub->async()->Attend(&context_, this);
    StartWriteLast(&request_, grpc::WriteOptions());
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override { answered_ = ok; }
  void OnDone(const grpc::Status& status) override {
    const auto taken = Clock::now() - start_;
    if (!answered_ || taken > kDeadline) {
      ++(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED ? tally_->refused
                                                                     : tally_->late);
    } else if (response_.results(0).status().code() == 0) {
      ++tally_->good;
      const std::scoped_lock lock(tally_->mutex);
      tally_->good_ms.push_back(std::chrono::duration<double, std::milli>(taken).count());
    } else if (response_.results(0).status().code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
      ++tally_->refused;
    } else {
      ++(response_.results(0).status().code() == grpc::StatusCode::DEADLINE_EXCEEDED
             ? tally_->late
             : tally_->other);
    }
    --tally_->open;
    delete this;
  }

 private:
  pb::AttendRequest request_;
  Tally* const tally_;
  grpc::ClientContext context_;
  pb::AttendResponse response_;
  const Clock::time_point start_ = Clock::now();
  bool answered_ = false;
};

class Bench {
 public:
  explicit Bench(Plan plan) : plan_(plan) {}

  Status Run() {
    ALAYA_RETURN_IF_ERROR(Prepare());
    ALAYA_ASSIGN_OR_RETURN(const double capacity, MeasureCapacity());
    fmt::print("capacity {:.0f} items/s; deadline {} ms\n", capacity, kDeadline.count());
    fmt::print("{:>6}{:>12}{:>12}{:>10}{:>12}{:>10}{:>10}{:>10}{:>12}\n", "load", "offered/s",
               "goodput/s", "share", "refused/s", "late/s", "p50 ms", "p99 ms", "memory MiB");
    for (const double load : {0.5, 1.0, 2.0, 4.0}) {
      ALAYA_ASSIGN_OR_RETURN(const double goodput, RunLoad(load, capacity));
      const double share = goodput / std::min(load * capacity, capacity);
      if (share < plan_.goodput_share_min) {
        return Internal(fmt::format("goodput at load {} is {:.2f} of capacity, should be {:.2f}",
                                    load, share, plan_.goodput_share_min));
      }
    }
    return OkStatus();
  }

 private:
  Status Prepare() {
    ServerProcessOptions options;
    options.data_directory = directory_ / "data";
    ALAYA_ASSIGN_OR_RETURN(server_, ServerProcess::Start(options));
    ALAYA_ASSIGN_OR_RETURN(const auto client, client::Client::Connect(server_->grpc_address()));
    const AttentionWorkload workload({.model = StandardModel(1),
                                      .token_count = plan_.context_tokens,
                                      .seed = 7,
                                      .diffuse_layer_count = 0});
    ALAYA_RETURN_IF_ERROR(Import(client, workload));
    for (size_t i = 0; i < kSessions; ++i) {
      pb::CreateSessionRequest create;
      create.set_context_id("context");
      ALAYA_ASSIGN_OR_RETURN(const auto session, client.CreateSession(create));
      pb::AttendItem& item = *requests_.emplace_back().add_items();
      item.set_session_id(session.session_id());
      const Model& model = workload.model();
      ALAYA_ASSIGN_OR_RETURN(
          *item.mutable_query(),
          client::MakeTensor(workload.Queries(kLayer, plan_.context_tokens - 1 - i), 1,
                             model.num_query_heads, model.head_dim, model.dtype));
      item.mutable_options()->mutable_full();
    }
    for (size_t i = 0; i < kChannels; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt("bench.channel", static_cast<int>(i));  // a connection of its own
      stubs_.push_back(pb::SessionService::NewStub(grpc::CreateCustomChannel(
          server_->grpc_address(), grpc::InsecureChannelCredentials(), arguments)));
    }
    return OkStatus();
  }

  Status Import(const client::Client& client, const AttentionWorkload& workload) const {
    const Model& model = workload.model();
    pb::RegisterModelRequest request;
    pb::Model& proto = *request.mutable_model();
    proto.set_name(model.name);
    proto.set_num_layers(model.num_layers);
    proto.set_num_query_heads(model.num_query_heads);
    proto.set_num_kv_heads(model.num_kv_heads);
    proto.set_head_dim(model.head_dim);
    proto.set_dtype(client::ToProto(model.dtype));
    ALAYA_RETURN_IF_ERROR(client.RegisterModel(request).status());
    pb::ImportContextRequest::Header header;
    header.set_model(model.name);
    header.set_context_id("context");
    const std::vector<TokenId> tokens = workload.Tokens({0, plan_.context_tokens});
    header.mutable_tokens()->Assign(tokens.begin(), tokens.end());
    ALAYA_ASSIGN_OR_RETURN(auto importer, client.ImportContext(header));
    const LayerTokens layer = workload.Layer(kLayer, {0, plan_.context_tokens});
    const auto view = [&](const std::vector<std::byte>& rows) {
      return client::TensorView{model.dtype, plan_.context_tokens, model.num_kv_heads,
                                model.head_dim, rows};
    };
    ALAYA_RETURN_IF_ERROR(importer.AppendChunk({.layer = kLayer,
                                                .token_begin = 0,
                                                .key = view(layer.keys),
                                                .value = view(layer.values),
                                                .query = {}}));
    return importer.Commit().status();
  }

  void StartCall() {
    const size_t i = next_++;
    new Call(stubs_[i % stubs_.size()].get(), requests_[i % requests_.size()], tally_.get());
  }
  void WaitForAll() const {
    while (tally_->open > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  StatusOr<double> MeasureCapacity() {
    constexpr int64_t kCallsAtATime = 8;
    double best = 0;
    for (int round = 0; round < 2; ++round) {  // the first one warms up
      tally_ = std::make_unique<Tally>();
      const auto start = Clock::now();
      while (Clock::now() - start < plan_.duration / 2) {
        if (tally_->open < kCallsAtATime) {
          StartCall();
        } else {
          std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
      }
      WaitForAll();
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      best = static_cast<double>(tally_->good) / seconds;
    }
    if (best == 0) return Internal("nothing was answered in time");
    return best;
  }

  StatusOr<double> RunLoad(double load, double capacity) {
    tally_ = std::make_unique<Tally>();
    const std::chrono::duration<double> interval(1 / (load * capacity));
    const auto start = Clock::now();
    uint64_t count = 0;
    for (; Clock::now() - start < plan_.duration; ++count) {
      std::this_thread::sleep_until(start + std::chrono::duration_cast<Clock::duration>(
                                                interval * static_cast<double>(count)));
      StartCall();
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    WaitForAll();
    ALAYA_ASSIGN_OR_RETURN(const ProcessMemory memory, server_->Memory());
    const auto rate = [seconds](uint64_t events) { return static_cast<double>(events) / seconds; };
    std::vector<double>& latencies = tally_->good_ms;
    std::ranges::sort(latencies);
    const auto percentile = [&](double share) {
      if (latencies.empty()) return 0.0;
      const auto last = static_cast<double>(latencies.size() - 1);
      return latencies[static_cast<size_t>(share * last)];
    };
    const double goodput = rate(tally_->good);
    fmt::print("{:>6}{:>12.0f}{:>12.0f}{:>10.2f}{:>12.0f}{:>10.0f}{:>10.1f}{:>10.1f}{:>12}\n", load,
               rate(count), goodput, goodput / capacity, rate(tally_->refused), rate(tally_->late),
               percentile(0.5), percentile(0.99), memory.resident_bytes_max >> 20U);
    if (tally_->other > 0) return Internal(fmt::format("{} other errors", tally_->other.load()));
    return goodput;
  }

  const Plan plan_;
  const TempDirectory directory_;
  std::unique_ptr<ServerProcess> server_;
  std::vector<pb::AttendRequest> requests_;  // [kSessions]
  std::vector<std::unique_ptr<pb::SessionService::Stub>> stubs_;
  std::unique_ptr<Tally> tally_;
  size_t next_ = 0;
};

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::Plan plan;
  CLI::App app("Goodput and memory when more is asked for than the server can do.");
  app.add_flag_callback(
      "--tiny",
      [&] {
        plan.duration = std::chrono::milliseconds(1500);
        plan.goodput_share_min = 0.3;  // beside other tests
      },
      alaya::kTinyHelp);
  return alaya::BenchmarkMain(app, argc, argv, [&] { return alaya::Bench(plan).Run(); });
}
