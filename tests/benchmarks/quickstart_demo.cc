// The five-minute tour, against the real server: store a long context, decode over it
// with DIPR and with full attention, judge the answers by an oracle in double, end the
// server as a power cut would and find everything again.
//
// deploy/quickstart builds and runs it. Exit status 1 if an answer is wrong.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/client.h"
#include "client/tensor.h"
#include "tests/support/attention_workload.h"
#include "tests/support/element_codec.h"
#include "tests/support/exact_attention.h"
#include "tests/support/parallel_for.h"
#include "tests/support/quality.h"
#include "tests/support/server_process.h"

namespace alaya {
namespace {

namespace pb = alaya::v1;
using Clock = std::chrono::steady_clock;

constexpr double kMebibyte = 1 << 20;
// Inputs are exact for the oracle, so what is left is the server's float arithmetic.
constexpr double kErrorMax = 2e-3;
// Of an answer with an estimated part: its error is about 1 % on average, seldom 5 %.
constexpr double kEstimateErrorMax = 0.2;
// Scores that differ by less than float rounding may fall on either side of the bar.
constexpr double kScoreMargin = 1e-3;
constexpr Window kWindow{.sink = 128, .recent = 512};

struct DemoOptions {
  std::string server = DefaultServerBinary();
  std::string data_directory = "build/quickstart-data";
  uint64_t tokens = 32'768;
  uint32_t layers = 4;
  uint32_t steps = 64;
  uint32_t checked_steps = 4;
  double alpha = 0.012;
};

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A bar that is redrawn on a terminal, and a few lines anywhere else.
class ProgressBar {
 public:
  explicit ProgressBar(double total_bytes) : total_(total_bytes) {}

  void Show(double bytes) {
    const double share = std::min(1.0, bytes / total_);
    const bool done = share >= 1;
    if (!done && share < next_share_) return;
    next_share_ = share + (is_terminal_ ? 0.005 : 0.25);
    const double seconds = SecondsSince(start_);
    const double rate = bytes / seconds;
    const std::string bar(static_cast<size_t>(share * 30), '#');
    fmt::print("{}  [{:<30}] {:3.0f} %  {:6.0f} of {:.0f} MiB  {:5.0f} MiB/s  {}{}",
               is_terminal_ ? "\r" : "", bar, 100 * share, bytes / kMebibyte, total_ / kMebibyte,
               rate / kMebibyte,
               done ? fmt::format("in {:.1f} s", seconds)
                    : fmt::format("{:3.0f} s left", (total_ - bytes) / rate),
               done || !is_terminal_ ? "\n" : "   ");
    std::fflush(stdout);
  }

 private:
  const double total_;
  const Clock::time_point start_ = Clock::now();
  const bool is_terminal_ = isatty(STDOUT_FILENO) == 1;
  double next_share_ = 0;
};

// What the server answered for one layer of one step.
struct Answer {
  std::vector<float> output;       // [num_query_heads, head_dim]
  std::vector<float> log_sum_exp;  // [num_query_heads]
  uint64_t tokens_attended = 0;    // summed over heads
  uint64_t tokens_scored = 0;
  bool tail_estimated = false;
  std::vector<float> covered_mass;  // [num_query_heads], of checked steps
};

// One way to decode: its session and what came of it.
struct Run {
  std::string name;
  pb::AttendOptions options;
  std::string session_id;
  std::vector<double> attend_ms;
  std::vector<double> token_ms;
  std::vector<std::vector<Answer>> answers;  // [step][layer]
  std::vector<QualitySample> samples;
  size_t wrong_count = 0;
};

class Demo {
 public:
  explicit Demo(DemoOptions options)
      : options_(std::move(options)),
        workload_({.model = StandardModel(options_.layers),
                   .token_count = options_.tokens,
                   .diffuse_layer_count = 1}),
        context_tokens_(workload_.Tokens({0, options_.tokens})) {}

  Status RunAll();

 private:
  Status StartServer();
  Status RegisterModel();
  Status Import();
  Status WaitForIndexes();
  Status Decode();
  Status DecodeStep(uint32_t step, Run& run, client::AttendStream& stream);
  void Judge();
  void JudgeHead(uint32_t layer, uint32_t kv_head);
  void PrintTable();
  std::vector<QualitySample> SamplesOfLayer(std::span<const QualitySample> samples,
                                            uint32_t layer) const;
  Status KillAndComeBack();

  StatusOr<std::string> OpenSession();
  StatusOr<Answer> Attend(client::AttendStream& stream, pb::AttendItem item);
  // The query of one position, without new tokens.
  pb::AttendItem QueryItem(const std::string& session_id, uint32_t layer, uint64_t position,
                           const pb::AttendOptions& options) const;
  StatusOr<std::vector<Answer>> AskAllLayers(const pb::AttendOptions& options);
  std::vector<uint32_t> CheckedSteps() const;

  const DemoOptions options_;
  const AttentionWorkload workload_;
  const std::vector<TokenId> context_tokens_;
  std::unique_ptr<ServerProcess> server_;
  std::optional<client::Client> client_;
  std::vector<Run> runs_;
  std::vector<QualitySample> top_k_samples_;   // the oracle's, with as many tokens as dipr
  std::vector<QualitySample> window_samples_;  // the oracle's
  size_t top_k_ = 0;
};

Status Demo::RunAll() {
  std::error_code ignored;
  std::filesystem::remove_all(options_.data_directory, ignored);
  std::filesystem::create_directories(options_.data_directory, ignored);
  ALAYA_RETURN_IF_ERROR(StartServer());
  fmt::print("1. server {} on {}\n   data in {}\n", server_->pid(), server_->grpc_address(),
             options_.data_directory);
  ALAYA_RETURN_IF_ERROR(RegisterModel());
  fmt::print("2. import {} tokens of {} ({} layers, {} query heads, {} kv heads, {})\n",
             options_.tokens, workload_.model().name, options_.layers,
             workload_.model().num_query_heads, workload_.model().num_kv_heads,
             Name(workload_.model().dtype));
  ALAYA_RETURN_IF_ERROR(Import());
  ALAYA_RETURN_IF_ERROR(WaitForIndexes());
  fmt::print(
      "3. decode {} tokens over gRPC, each through {} layers: with full attention, with the exact\n"
      "   set of DIPR, and as the planner chooses (DIPR and an estimate of the rest, or full)\n",
      options_.steps, options_.layers);
  ALAYA_RETURN_IF_ERROR(Decode());
  fmt::print("4. judge {} of the steps, all heads, by exact attention in double\n",
             CheckedSteps().size());
  Judge();
  PrintTable();
  fmt::print("5. kill -9, then start again on the same directory\n");
  ALAYA_RETURN_IF_ERROR(KillAndComeBack());
  ALAYA_ASSIGN_OR_RETURN(const int exit_status, server_->Terminate());
  fmt::print("6. SIGTERM: the server drained and ended with exit status {}\n", exit_status);
  size_t wrong_count = 0;
  for (const Run& run : runs_) wrong_count += run.wrong_count;
  if (wrong_count > 0) return Internal(fmt::format("{} answers are wrong", wrong_count));
  return OkStatus();
}

Status Demo::StartServer() {
  ALAYA_ASSIGN_OR_RETURN(
      server_,
      ServerProcess::Start({.binary = options_.server, .data_directory = options_.data_directory}));
  ALAYA_ASSIGN_OR_RETURN(client_, client::Client::Connect(server_->grpc_address()));
  return client_->WaitUntilServing(std::chrono::seconds(60));
}

Status Demo::RegisterModel() {
  const Model& model = workload_.model();
  pb::RegisterModelRequest request;
  pb::Model& message = *request.mutable_model();
  message.set_name(model.name);
  message.set_num_layers(model.num_layers);
  message.set_num_query_heads(model.num_query_heads);
  message.set_num_kv_heads(model.num_kv_heads);
  message.set_head_dim(model.head_dim);
  message.set_dtype(client::ToProto(model.dtype));
  return client_->RegisterModel(request).status();
}

Status Demo::Import() {
  constexpr uint64_t kChunkTokens = 1024;
  const Model& model = workload_.model();
  pb::ImportContextRequest::Header header;
  header.set_model(model.name);
  header.mutable_tokens()->Assign(context_tokens_.begin(), context_tokens_.end());
  header.set_context_id("quickstart");
  ProgressBar bar(static_cast<double>(model.token_bytes() * options_.tokens));
  ALAYA_ASSIGN_OR_RETURN(client::ContextImporter importer,
                         client_->ImportContext(header, {.progress = [&](uint64_t bytes) {
                                                  // The last line is for the commit.
                                                  bar.Show(static_cast<double>(bytes) * 0.999);
                                                }}));
  for (uint32_t layer = 0; layer < model.num_layers; ++layer) {
    for (uint64_t begin = 0; begin < options_.tokens; begin += kChunkTokens) {
      const TokenRange range{begin, std::min(begin + kChunkTokens, options_.tokens)};
      const LayerTokens tokens = workload_.Layer(layer, range);
      const auto view = [&](std::span<const std::byte> data) {
        return client::TensorView{model.dtype, range.size(), model.num_kv_heads, model.head_dim,
                                  data};
      };
      ALAYA_RETURN_IF_ERROR(
          importer.AppendChunk({layer, begin, view(tokens.keys), view(tokens.values), {}}));
    }
  }
  ALAYA_ASSIGN_OR_RETURN(const pb::ImportContextResponse response, importer.Commit());
  bar.Show(static_cast<double>(importer.sent_bytes()));
  fmt::print("   context '{}', {:.0f} MiB on disk, durable\n", response.context_id(),
             static_cast<double>(response.stored_bytes()) / kMebibyte);
  return OkStatus();
}

// Queries do not have to wait for indexes; figures that are to be compared do.
Status Demo::WaitForIndexes() {
  const auto start = Clock::now();
  for (;;) {
    ALAYA_ASSIGN_OR_RETURN(const pb::GetStatsResponse stats, client_->GetStats());
    const pb::IndexBuildStats& builds = stats.index_builds();
    if (builds.failed() > 0) return Internal("building an index failed, see the server's log");
    if (builds.pending() + builds.running() == 0) break;
    if (SecondsSince(start) > 300) return Internal("indexes were not built in 300 s");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  fmt::print("   indexes built {:.1f} s later, in the background\n", SecondsSince(start));
  return OkStatus();
}

StatusOr<std::string> Demo::OpenSession() {
  pb::CreateSessionRequest request;
  request.set_model(workload_.model().name);
  request.mutable_tokens()->Assign(context_tokens_.begin(), context_tokens_.end());
  ALAYA_ASSIGN_OR_RETURN(const pb::CreateSessionResponse response, client_->CreateSession(request));
  if (response.reused_tokens() != options_.tokens) {
    return Internal(fmt::format("only {} of {} tokens were found again", response.reused_tokens(),
                                options_.tokens));
  }
  return response.session_id();
}

pb::AttendItem Demo::QueryItem(const std::string& session_id, uint32_t layer, uint64_t position,
                               const pb::AttendOptions& options) const {
  const Model& model = workload_.model();
  pb::AttendItem item;
  item.set_session_id(session_id);
  item.set_layer(layer);
  *item.mutable_options() = options;
  *item.mutable_query() = *client::MakeTensor(workload_.Queries(layer, position), 1,
                                              model.num_query_heads, model.head_dim);
  return item;
}

StatusOr<Answer> Demo::Attend(client::AttendStream& stream, pb::AttendItem item) {
  ALAYA_ASSIGN_OR_RETURN(const pb::AttendResult result,
                         stream.AttendOne(std::move(item), std::chrono::seconds(60)));
  Answer answer;
  ALAYA_ASSIGN_OR_RETURN(answer.output, client::ToFloats(result.output()));
  ALAYA_ASSIGN_OR_RETURN(answer.log_sum_exp, client::ToFloats(result.log_sum_exp()));
  answer.tokens_attended = result.stats().tokens_attended();
  answer.tokens_scored = result.stats().tokens_scored();
  answer.tail_estimated = result.stats().tail_estimated();
  answer.covered_mass.assign(result.stats().head_covered_mass().begin(),
                             result.stats().head_covered_mass().end());
  return answer;
}

Status Demo::DecodeStep(uint32_t step, Run& run, client::AttendStream& stream) {
  const Model& model = workload_.model();
  const uint64_t position = options_.tokens + step;
  const bool is_checked = std::ranges::count(CheckedSteps(), step) > 0;
  std::vector<pb::AttendItem> items;
  for (uint32_t layer = 0; layer < model.num_layers; ++layer) {
    const LayerTokens tokens = workload_.Layer(layer, {position, position + 1});
    items.push_back(QueryItem(run.session_id, layer, position, run.options));
    items.back().mutable_options()->set_explain(is_checked);
    for (const auto& [bytes, tensor] : {std::pair(&tokens.keys, items.back().mutable_key()),
                                        std::pair(&tokens.values, items.back().mutable_value())}) {
      *tensor = *client::MakeTensor(
          client::TensorView{model.dtype, 1, model.num_kv_heads, model.head_dim, *bytes});
    }
  }
  // As an engine does: a layer's query needs the answer of the layer before.
  run.answers.emplace_back();
  const auto token_start = Clock::now();
  for (pb::AttendItem& item : items) {
    const auto start = Clock::now();
    ALAYA_ASSIGN_OR_RETURN(Answer answer, Attend(stream, std::move(item)));
    run.attend_ms.push_back(1e3 * SecondsSince(start));
    run.answers.back().push_back(std::move(answer));
  }
  run.token_ms.push_back(1e3 * SecondsSince(token_start));
  return OkStatus();
}

Status Demo::Decode() {
  runs_.resize(3);
  runs_[0].name = "full";
  runs_[0].options.mutable_full();
  runs_[1].name = "dipr";
  runs_[1].options.mutable_dipr()->set_alpha(options_.alpha);
  runs_[1].options.mutable_dipr()->set_sound(true);
  runs_[1].options.set_tail_estimate(false);
  runs_[2].name = "planner";
  for (Run& run : runs_) {
    ALAYA_ASSIGN_OR_RETURN(run.session_id, OpenSession());
  }
  client::AttendStream stream = client_->Attend();
  for (uint32_t step = 0; step < options_.steps; ++step) {
    for (Run& run : runs_) ALAYA_RETURN_IF_ERROR(DecodeStep(step, run, stream));
  }
  return stream.Close();
}

std::vector<uint32_t> Demo::CheckedSteps() const {
  std::vector<uint32_t> steps;
  const uint32_t count = std::min(options_.checked_steps, options_.steps);
  for (uint32_t i = 0; i < count; ++i) {
    steps.push_back(count == 1 ? 0 : i * (options_.steps - 1) / (count - 1));
  }
  return steps;
}

// Samples keep their places, so heads can be judged at the same time.
void Demo::Judge() {
  const Model& model = workload_.model();
  double attended = 0;
  double answer_count = 0;
  for (const auto& step : runs_[1].answers) {
    for (const Answer& answer : step) attended += static_cast<double>(answer.tokens_attended);
    answer_count += static_cast<double>(step.size() * model.num_query_heads);
  }
  top_k_ = std::max<size_t>(1, static_cast<size_t>(attended / answer_count));
  const size_t sample_count = CheckedSteps().size() * model.num_layers * model.num_query_heads;
  for (Run& run : runs_) run.samples.resize(sample_count);
  top_k_samples_.resize(sample_count);
  window_samples_.resize(sample_count);
  ParallelFor(size_t{model.num_layers} * model.num_kv_heads, [&](size_t i) {
    JudgeHead(static_cast<uint32_t>(i / model.num_kv_heads),
              static_cast<uint32_t>(i % model.num_kv_heads));
  });
  for (Run& run : runs_) {
    run.wrong_count =
        static_cast<size_t>(std::ranges::count(run.samples, false, &QualitySample::all_valid));
  }
}

// What the oracle knows of one query.
struct Exact {
  std::vector<double> scores;
  MatrixView<const float> values;
  double scale = 0;
  TokenRange visible;
  ExactAttention all;

  QualitySample Sample(std::span<const uint32_t> tokens) const {
    const ExactAttention some = AttendTokens(scores, values, scale, tokens);
    const std::vector<float> output(some.output.begin(), some.output.end());
    return {.recovery = std::exp(some.log_sum_exp - all.log_sum_exp),
            .output_error = OutputError(output, all.output),
            .tokens_attended = tokens.size()};
  }
};

// Is `output` the attention over the target's tokens and the window?
bool IsRight(const Exact& exact, std::span<const float> output, const Target& target) {
  const std::vector<uint32_t> window = WindowTokens(exact.visible, kWindow);
  return std::ranges::any_of(
      std::vector<double>{kScoreMargin, 0, -kScoreMargin}, [&](double margin) {
        const auto critical =
            CriticalTokens(exact.scores, exact.scale, exact.visible, target, margin);
        const ExactAttention expected =
            AttendTokens(exact.scores, exact.values, exact.scale, UnionOf(critical, window));
        return OutputError(output, expected.output) < kErrorMax;
      });
}

void Demo::JudgeHead(uint32_t layer, uint32_t kv_head) {
  const Model& model = workload_.model();
  const size_t d = model.head_dim;
  const uint64_t end = options_.tokens + options_.steps;
  std::vector<float> keys = workload_.HeadKeys(layer, kv_head, {0, end});
  std::vector<float> values = workload_.HeadValues(layer, kv_head, {0, end});
  RoundTo(model.dtype, keys);
  RoundTo(model.dtype, values);
  const std::vector<uint32_t> steps = CheckedSteps();
  for (size_t i = 0; i < steps.size() * model.group_size(); ++i) {
    const size_t checked = i / model.group_size();
    const uint32_t step = steps[checked];
    const size_t head = kv_head * model.group_size() + i % model.group_size();
    const uint64_t visible = options_.tokens + step + 1;
    const std::vector<float> queries = workload_.Queries(layer, options_.tokens + step);
    Exact exact{
        .scores = ExactScores(std::span(queries).subspan(head * d, d), {keys.data(), visible, d}),
        .values = {values.data(), visible, d},
        .scale = 1 / std::sqrt(static_cast<double>(d)),
        .visible = {0, visible},
        .all = {}};
    exact.all = AttendRange(exact.scores, exact.values, exact.scale, exact.visible);

    const size_t place = (checked * model.num_layers + layer) * model.num_query_heads + head;
    for (Run& run : runs_) {
      const Answer& answer = run.answers[step][layer];
      const auto output = std::span(answer.output).subspan(head * d, d);
      QualitySample& sample = run.samples[place];
      // The server's own denominator says how much of the mass it knows of, and which share
      // of that it did not estimate.
      const double attended = answer.tail_estimated ? double{answer.covered_mass[head]} : 1;
      sample.recovery = std::min(
          1.0, attended * std::exp(double{answer.log_sum_exp[head]} - exact.all.log_sum_exp));
      sample.output_error = OutputError(output, exact.all.output);
      sample.tokens_attended = answer.tokens_attended / model.num_query_heads;
      sample.tokens_scored = answer.tokens_scored / model.num_query_heads;
      const Target target =
          run.options.has_dipr() ? Target(DiprTarget{options_.alpha}) : Target(FullTarget{});
      sample.all_valid = answer.tail_estimated ? sample.output_error < kEstimateErrorMax
                                               : IsRight(exact, output, target);
    }
    const auto window = WindowTokens(exact.visible, kWindow);
    const auto top = CriticalTokens(exact.scores, exact.scale, exact.visible, TopKTarget{top_k_});
    top_k_samples_[place] = exact.Sample(top);
    window_samples_[place] = exact.Sample(window);
  }
}

std::vector<QualitySample> Demo::SamplesOfLayer(std::span<const QualitySample> samples,
                                                uint32_t layer) const {
  const size_t heads = workload_.model().num_query_heads;
  std::vector<QualitySample> result;
  for (size_t i = layer * heads; i < samples.size(); i += options_.layers * heads) {
    result.insert(result.end(), samples.begin() + static_cast<ptrdiff_t>(i),
                  samples.begin() + static_cast<ptrdiff_t>(i + heads));
  }
  return result;
}

void Demo::PrintTable() {
  fmt::print("\n{:<14} {:^15}  {:^15}  {:>9}  {:^22}  {:^19}\n", "", "Attend, ms", "token, ms",
             "tokens", "recovery", "output error");
  fmt::print("{:<14} {:>7} {:>7}  {:>7} {:>7}  {:>9}  {:>6} {:>7} {:>7}  {:>9} {:>9}\n", "", "p50",
             "p99", "p50", "p99", "attended", "mean", "p10", "min", "mean", "p99");
  const auto print_quality = [](const QualityFigures& f) {
    fmt::print("  {:>9.0f}  {:>6.4f} {:>7.4f} {:>7.4f}  {:>9.2e} {:>9.2e}\n",
               f.tokens_attended_mean, f.recovery_mean, f.recovery_p10, f.recovery_min,
               f.output_error_mean, f.output_error_p99);
  };
  for (const Run& run : runs_) {
    fmt::print("{:<14} {:>7.2f} {:>7.2f}  {:>7.2f} {:>7.2f}", run.name,
               Percentile(run.attend_ms, 0.5), Percentile(run.attend_ms, 0.99),
               Percentile(run.token_ms, 0.5), Percentile(run.token_ms, 0.99));
    print_quality(Summarize(run.samples));
  }
  for (uint32_t layer = 0; layer < options_.layers; ++layer) {
    fmt::print("{:<14} {:>7} {:>7}  {:>7} {:>7}", fmt::format("  layer {}", layer), "", "", "", "");
    print_quality(Summarize(SamplesOfLayer(runs_.back().samples, layer)));
  }
  for (const auto& [name, samples] : {std::pair(fmt::format("top {} *", top_k_), &top_k_samples_),
                                      std::pair(std::string("window only *"), &window_samples_)}) {
    fmt::print("{:<14} {:>7} {:>7}  {:>7} {:>7}", name, "-", "-", "-", "-");
    print_quality(Summarize(*samples));
  }
  fmt::print(
      "* by the oracle, for comparison: as many tokens as dipr attends, and the window "
      "({} + {})\n",
      kWindow.sink, kWindow.recent);
  for (const Run& run : runs_) {
    fmt::print("{}: {} of {} answers are right (within {} of the oracle's, {} if estimated)\n",
               run.name, run.samples.size() - run.wrong_count, run.samples.size(), kErrorMax,
               kEstimateErrorMax);
  }
  if (const StatusOr<ProcessMemory> memory = server_->Memory(); memory.ok()) {
    fmt::print("server memory: {:.0f} MiB now, {:.0f} MiB at most\n\n",
               static_cast<double>(memory->resident_bytes) / kMebibyte,
               static_cast<double>(memory->resident_bytes_max) / kMebibyte);
  }
}

StatusOr<std::vector<Answer>> Demo::AskAllLayers(const pb::AttendOptions& options) {
  ALAYA_ASSIGN_OR_RETURN(const std::string session_id, OpenSession());
  client::AttendStream stream = client_->Attend();
  std::vector<Answer> answers;
  for (uint32_t layer = 0; layer < options_.layers; ++layer) {
    ALAYA_ASSIGN_OR_RETURN(
        Answer answer, Attend(stream, QueryItem(session_id, layer, options_.tokens - 1, options)));
    answers.push_back(std::move(answer));
  }
  ALAYA_RETURN_IF_ERROR(stream.Close());
  return answers;
}

Status Demo::KillAndComeBack() {
  std::vector<std::vector<Answer>> before;
  for (const Run& run : runs_) {
    ALAYA_ASSIGN_OR_RETURN(std::vector<Answer> answers, AskAllLayers(run.options));
    before.push_back(std::move(answers));
  }
  client_.reset();
  server_->Kill();
  const auto start = Clock::now();
  ALAYA_RETURN_IF_ERROR(StartServer());
  const double serving_seconds = SecondsSince(start);
  double answered_seconds = 0;
  double difference = 0;
  // What the planner chooses depends on what it has seen.
  for (size_t i = 0; i < 2; ++i) {
    ALAYA_ASSIGN_OR_RETURN(const std::vector<Answer> after, AskAllLayers(runs_[i].options));
    if (i == 0) answered_seconds = SecondsSince(start);
    for (size_t layer = 0; layer < after.size(); ++layer) {
      for (size_t j = 0; j < after[layer].output.size(); ++j) {
        const double change = double{after[layer].output[j]} - double{before[i][layer].output[j]};
        difference = std::max(difference, std::abs(change));
      }
    }
  }
  fmt::print(
      "   serving after {:.2f} s; all {} tokens found, {} layers answered after {:.2f} s\n"
      "   largest difference to the outputs before: {}\n",
      serving_seconds, options_.tokens, options_.layers, answered_seconds, difference);
  if (difference > kErrorMax) return DataLoss("the context answers differently after the restart");
  return OkStatus();
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  alaya::DemoOptions options;
  bool tiny = false;
  CLI::App app("Stores a context, decodes over it, kills the server and finds everything again.");
  app.add_option("--server", options.server, "server binary")->capture_default_str();
  app.add_option("--data-dir", options.data_directory, "wiped at the start")->capture_default_str();
  app.add_option("--tokens", options.tokens, "of the stored context")->capture_default_str();
  app.add_option("--layers", options.layers, "of the model")->capture_default_str();
  app.add_option("--steps", options.steps, "decoded tokens")->capture_default_str();
  app.add_option("--alpha", options.alpha, "of DIPR")->capture_default_str();
  app.add_flag("--tiny", tiny, "a few seconds, for the test suite");
  CLI11_PARSE(app, argc, argv);
  const alaya::TempDirectory tiny_directory;
  if (tiny) {
    options.data_directory = tiny_directory / "data";
    options.tokens = 3000;
    options.layers = 2;
    options.steps = 6;
  }

  const alaya::Status status = alaya::Demo(options).RunAll();

  if (!status.ok()) {
    fmt::print(stderr, "quickstart failed: {}\n", status.ToString());
    return 1;
  }
  return 0;
}
