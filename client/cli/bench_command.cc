// alayactl bench: latency of decoding over a context, split into engine and transport.
//
// The generated data keep the one property that decides the cost of sparse attention:
// the logits of a query head are normally distributed with a given standard deviation,
// so that some tokens matter and most do not.

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "client/cli/arguments.h"
#include "client/cli/bench_run.h"
#include "client/cli/commands.h"
#include "client/cli/random_vectors.h"
#include "client/cli/terminal.h"
#include "client/tensor.h"

namespace alaya::client {
namespace {

struct BenchArguments {
  uint32_t sessions = 1;
  uint32_t threads = 1;
  uint32_t steps = 64;
  uint32_t warmup_steps = 4;
  uint32_t layers = 4;
  uint32_t tokens = 32768;
  uint32_t query_heads = 32;
  uint32_t kv_heads = 8;
  uint32_t head_dim = 128;
  std::string dtype = "bf16";
  double logit_deviation = 3.3;
  uint64_t seed = 1;
  std::string context_id;
  AttentionArguments attention;
};

// The sessions and the context of a run, deleted with it.
class BenchData {
 public:
  explicit BenchData(Client client) : client_(std::move(client)) {}
  ~BenchData() {
    // Failures are left alone: the run's own error counts, and the context expires.
    for (const std::string& session_id : session_ids_) {
      pb::CloseSessionRequest request;
      request.set_session_id(session_id);
      (void)client_.CloseSession(request);
    }
    if (context_id_.empty()) return;
    pb::DeleteContextRequest request;
    request.set_context_id(context_id_);
    (void)client_.DeleteContext(request);
  }
  BenchData(const BenchData&) = delete;
  BenchData& operator=(const BenchData&) = delete;

  // Stores a context of generated keys and values.
  Status ImportContext(const pb::Model& model, const BenchArguments& arguments,
                       ProgressBar& progress) {
    pb::ImportContextRequest::Header header;
    header.set_model(model.name());
    // Tokens that no context has: nothing is to be reused.
    std::random_device entropy;
    for (uint32_t i = 0; i < arguments.tokens; ++i) header.add_tokens(entropy());
    (*header.mutable_labels())["made-by"] = "alayactl-bench";
    // Should this program be killed, the server cleans up.
    *header.mutable_ttl() = ToProto(std::chrono::hours{1});
    ContextImporterOptions options;
    options.progress = [&progress](uint64_t sent_bytes) { progress.Update(sent_bytes); };
    ALAYA_ASSIGN_OR_RETURN(ContextImporter importer, client_.ImportContext(header, options));
    RandomVectors random(arguments.seed);
    for (uint32_t layer = 0; layer < model.num_layers(); ++layer) {
      ALAYA_RETURN_IF_ERROR(ImportLayer(model, layer, arguments.tokens, random, importer));
    }
    ALAYA_ASSIGN_OR_RETURN(const auto response, importer.Commit());
    context_id_ = response.context_id();
    return OkStatus();
  }

  Status OpenSessions(const pb::Model& model, const std::string& context_id, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      pb::CreateSessionRequest request;
      request.set_model(model.name());
      request.set_context_id(context_id);
      ALAYA_ASSIGN_OR_RETURN(const auto response, client_.CreateSession(request));
      session_ids_.push_back(response.session_id());
    }
    return OkStatus();
  }

  const std::string& context_id() const { return context_id_; }
  const std::vector<std::string>& session_ids() const { return session_ids_; }

 private:
  static Status ImportLayer(const pb::Model& model, uint32_t layer, uint32_t token_count,
                            RandomVectors& random, ContextImporter& importer) {
    constexpr uint32_t kPieceTokens = 1024;
    ALAYA_ASSIGN_OR_RETURN(const DType dtype, FromProto(model.dtype()));
    const size_t token_elements = size_t{model.num_kv_heads()} * model.head_dim();
    std::vector<float> elements;
    for (uint32_t begin = 0; begin < token_count; begin += kPieceTokens) {
      const uint32_t count = std::min(kPieceTokens, token_count - begin);
      elements.resize(count * token_elements);
      random.Fill(1.0F, elements);
      const std::string keys = EncodeElements(elements, dtype);
      random.Fill(1.0F, elements);
      const std::string values = EncodeElements(elements, dtype);
      ContextChunk chunk;
      chunk.layer = layer;
      chunk.token_begin = begin;
      chunk.key = {dtype, count, model.num_kv_heads(), model.head_dim(), AsBytes(keys)};
      chunk.value = {dtype, count, model.num_kv_heads(), model.head_dim(), AsBytes(values)};
      ALAYA_RETURN_IF_ERROR(importer.AppendChunk(chunk));
    }
    return OkStatus();
  }

  Client client_;
  std::string context_id_;
  std::vector<std::string> session_ids_;
};

// The model of the named context, or one of the shape asked for.
StatusOr<pb::Model> PrepareModel(const Client& client, const BenchArguments& arguments) {
  if (!arguments.context_id.empty()) {
    pb::GetContextRequest request;
    request.set_context_id(arguments.context_id);
    ALAYA_ASSIGN_OR_RETURN(const auto response, client.GetContext(request));
    return FindModel(client, response.context().model());
  }
  pb::RegisterModelRequest request;
  pb::Model& model = *request.mutable_model();
  model.set_num_layers(arguments.layers);
  model.set_num_query_heads(arguments.query_heads);
  model.set_num_kv_heads(arguments.kv_heads);
  model.set_head_dim(arguments.head_dim);
  ALAYA_ASSIGN_OR_RETURN(const DType dtype, ParseDType(arguments.dtype));
  model.set_dtype(ToProto(dtype));
  // Named after its shape: models stay, and another run takes the same one.
  model.set_name("alayactl-bench/" + std::to_string(arguments.layers) + "x" +
                 std::to_string(arguments.query_heads) + "x" + std::to_string(arguments.kv_heads) +
                 "x" + std::to_string(arguments.head_dim) + "-" + arguments.dtype);
  ALAYA_RETURN_IF_ERROR(client.RegisterModel(request).status());
  return model;
}

// A figure of every sample, under a name.
struct Figure {
  const char* name;
  double (*of)(const AttendSample&);
  bool is_time;
};
constexpr Figure kFigures[] = {
    {"client", [](const AttendSample& s) { return s.client; }, true},
    {"transport", [](const AttendSample& s) { return s.transport(); }, true},
    {"engine", [](const AttendSample& s) { return s.engine; }, true},
    {"queue", [](const AttendSample& s) { return s.queue; }, true},
    {"search", [](const AttendSample& s) { return s.search; }, true},
    {"attend", [](const AttendSample& s) { return s.attend; }, true},
    {"tokens_attended", [](const AttendSample& s) { return s.tokens_attended; }, false},
    {"tokens_scored", [](const AttendSample& s) { return s.tokens_scored; }, false},
};

struct Distribution {
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double max = 0;
};

Distribution DistributionOf(const Figure& figure, const std::vector<AttendSample>& samples) {
  std::vector<double> values;
  double sum = 0;
  for (const AttendSample& sample : samples) {
    values.push_back(figure.of(sample));
    sum += values.back();
  }
  if (values.empty()) return {};
  return {sum / static_cast<double>(values.size()), Percentile(values, 0.5),
          Percentile(values, 0.9), Percentile(values, 0.99), Percentile(values, 1)};
}

std::string ResultText(const BenchPlan& plan, const BenchResult& result) {
  Table table({"PER ATTEND", ">MEAN", ">P50", ">P90", ">P99", ">MAX"});
  for (const Figure& figure : kFigures) {
    const Distribution d = DistributionOf(figure, result.samples);
    const auto text = [&figure](double value) {
      return figure.is_time ? MicrosecondsText(value) : FixedText(value, 1);
    };
    table.AddRow({figure.name, text(d.mean), text(d.p50), text(d.p90), text(d.p99), text(d.max)});
  }
  const double token_count =
      static_cast<double>(plan.step_count) * static_cast<double>(plan.session_ids.size());
  return table.Text() + "\n" +
         FieldsText(
             {{"Attends", CountText(result.samples.size())},
              {"Wall time", SecondsText(result.wall_seconds)},
              {"Attends per second",
               FixedText(static_cast<double>(result.samples.size()) / result.wall_seconds, 1)},
              {"Tokens per second", FixedText(token_count / result.wall_seconds, 1) + " over " +
                                        std::to_string(plan.layer_count) + " layers"}}) +
         "Tokens are per query head; transport is client less engine.\n";
}

nlohmann::json ResultJson(const BenchPlan& plan, const BenchResult& result) {
  nlohmann::json json = {{"attends", result.samples.size()}, {"sessions", plan.session_ids.size()},
                         {"threads", plan.thread_count},     {"steps", plan.step_count},
                         {"layers", plan.layer_count},       {"wall_seconds", result.wall_seconds}};
  for (const Figure& figure : kFigures) {
    const Distribution d = DistributionOf(figure, result.samples);
    const std::string name = std::string(figure.name) + (figure.is_time ? "_microseconds" : "");
    json[name] = {{"mean", d.mean}, {"p50", d.p50}, {"p90", d.p90}, {"p99", d.p99}, {"max", d.max}};
  }
  return json;
}

Status Bench(const CommandLine& line, const BenchArguments& arguments) {
  BenchPlan plan;
  ALAYA_ASSIGN_OR_RETURN(plan.options, arguments.attention.ToProto());
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  ALAYA_ASSIGN_OR_RETURN(plan.model, PrepareModel(client, arguments));
  ALAYA_ASSIGN_OR_RETURN(const DType dtype, FromProto(plan.model.dtype()));
  BenchData data(client);
  std::string context_id = arguments.context_id;
  if (context_id.empty()) {
    const uint64_t bytes = uint64_t{2} * plan.model.num_layers() * plan.model.num_kv_heads() *
                           plan.model.head_dim() * ElementBytes(dtype) * arguments.tokens;
    ProgressBar progress(line.err, line.err_is_terminal && !line.json, "importing", bytes);
    ALAYA_RETURN_IF_ERROR(data.ImportContext(plan.model, arguments, progress));
    context_id = data.context_id();
  }
  ALAYA_RETURN_IF_ERROR(data.OpenSessions(plan.model, context_id, arguments.sessions));
  plan.session_ids = data.session_ids();
  plan.layer_count = std::min(arguments.layers, plan.model.num_layers());
  plan.thread_count = std::min(arguments.threads, arguments.sessions);
  plan.step_count = arguments.steps;
  plan.warmup_step_count = arguments.warmup_steps;
  // With keys of deviation 1 and scale 1/sqrt(D), a logit's deviation is that of the
  // query's elements.
  plan.query_deviation = static_cast<float>(arguments.logit_deviation);
  plan.seed = arguments.seed;
  ALAYA_ASSIGN_OR_RETURN(const BenchResult result, RunBench(client, plan));
  line.out << (line.json ? ResultJson(plan, result).dump() + "\n" : ResultText(plan, result));
  return OkStatus();
}

}  // namespace

void AddBenchCommand(CLI::App& app, CommandLine& line) {
  CLI::App& bench_app = *app.add_subcommand("bench", "Latency of decoding over a context");
  const auto arguments = std::make_shared<BenchArguments>();
  const auto add_count = [&bench_app](const char* name, uint32_t& count, const char* description) {
    bench_app.add_option(name, count, description)
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
  };
  add_count("--sessions", arguments->sessions, "Sessions that decode at the same time");
  add_count("--threads", arguments->threads, "Client threads, each with a stream");
  add_count("--steps", arguments->steps, "Decode steps per session");
  bench_app.add_option("--warmup-steps", arguments->warmup_steps, "Steps before the measured ones")
      ->capture_default_str();
  add_count("--layers", arguments->layers, "Layers of the model, or of the context to use");
  add_count("--tokens", arguments->tokens, "Tokens of the generated context");
  add_count("--query-heads", arguments->query_heads, "Query heads of the model");
  add_count("--kv-heads", arguments->kv_heads, "KV heads of the model");
  add_count("--head-dim", arguments->head_dim, "Elements of one head's vector");
  bench_app.add_option("--dtype", arguments->dtype, "Of keys and values: f32, f16 or bf16")
      ->capture_default_str();
  bench_app
      .add_option("--logit-deviation", arguments->logit_deviation,
                  "Standard deviation of the logits, in nats: small is diffuse")
      ->capture_default_str();
  bench_app.add_option("--seed", arguments->seed, "Of the generated data")->capture_default_str();
  bench_app.add_option("--context", arguments->context_id,
                       "Decode over this context instead of a generated one");
  arguments->attention.AddTo(bench_app);
  bench_app.footer(
      "The generated context and the sessions are deleted at the end; the model stays.\n"
      "\n"
      "Examples:\n"
      "  alayactl bench --target dipr\n"
      "  alayactl bench --sessions 16 --threads 4 --layers 1 --tokens 131072 --target full");
  bench_app.callback(
      [&line, arguments] { line.action = [&line, arguments] { return Bench(line, *arguments); }; });
}

}  // namespace alaya::client
