#include "client/cli/arguments.h"

#include <array>
#include <charconv>
#include <cmath>

#include "client/cli/random_vectors.h"
#include "client/files/array_file.h"
#include "client/tensor.h"

namespace alaya::client {
namespace {

using std::chrono::milliseconds;

constexpr std::array<std::pair<std::string_view, int64_t>, 5> kUnits = {
    {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};

// A whole number at the front of `text`, which loses it.
std::optional<uint64_t> TakeNumber(std::string_view& text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

Status OnlyWith(bool given, const char* option, std::string_view needed, std::string_view target) {
  if (!given || target == needed) return OkStatus();
  return InvalidArgument(std::string(option) + " goes with --target " + std::string(needed));
}

// Queries must be floating-point numbers of a type that the API knows.
StatusOr<DType> QueryDType(const ArrayInfo& info) {
  switch (info.type) {
    case ElementType::kF32:
      return DType::kF32;
    case ElementType::kF16:
      return DType::kF16;
    case ElementType::kBF16:
      return DType::kBF16;
    default:
      return InvalidArgument("queries of type " + std::string(Name(info.type)) +
                             ": f32, f16 or bf16 expected");
  }
}

}  // namespace

StatusOr<milliseconds> ParseDuration(std::string_view text) {
  const Status malformed = InvalidArgument("duration '" + std::string(text) +
                                           "': expected a form like 500ms, 90s, 1h30m or 2d");
  if (text == "0") return milliseconds{0};
  if (text.empty()) return malformed;
  int64_t total = 0;
  while (!text.empty()) {
    const auto number = TakeNumber(text);
    if (!number.has_value() || !std::in_range<int64_t>(*number)) return malformed;
    const std::string_view unit = text.substr(0, text.find_first_of("0123456789"));
    text.remove_prefix(unit.size());
    const auto found = std::ranges::find(kUnits, unit, &decltype(kUnits)::value_type::first);
    int64_t part = 0;
    if (found == kUnits.end() ||
        __builtin_mul_overflow(static_cast<int64_t>(*number), found->second, &part) ||
        __builtin_add_overflow(total, part, &total)) {
      return malformed;
    }
  }
  return milliseconds{total};
}

StatusOr<std::map<std::string, std::string>> ParseLabels(const std::vector<std::string>& words) {
  std::map<std::string, std::string> labels;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      return InvalidArgument("label '" + word + "': expected name=value");
    }
    labels[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return labels;
}

std::string LabelsText(const google::protobuf::Map<std::string, std::string>& labels) {
  std::string text;
  for (const auto& [name, value] : std::map(labels.begin(), labels.end())) {
    if (!text.empty()) text += ' ';
    text.append(name).append(1, '=').append(value);
  }
  return text;
}

StatusOr<pb::TokenRange> ParseTokenRange(std::string_view text) {
  const std::string_view whole = text;
  pb::TokenRange range;
  if (const auto begin = TakeNumber(text); begin.has_value()) range.set_begin(*begin);
  const bool separated = text.starts_with(':');
  if (separated) text.remove_prefix(1);
  if (const auto end = TakeNumber(text); separated && end.has_value()) range.set_end(*end);
  if (!separated || !text.empty()) {
    return InvalidArgument("token range '" + std::string(whole) + "': expected begin:end");
  }
  if (range.end() != 0 && range.end() < range.begin()) {
    return InvalidArgument("token range '" + std::string(whole) + "': ends before it begins");
  }
  return range;
}

StatusOr<DType> ParseDType(std::string_view text) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (text == Name(dtype)) return dtype;
  }
  return InvalidArgument("dtype '" + std::string(text) + "': one of f32, f16, bf16 expected");
}

google::protobuf::Duration ToProto(milliseconds duration) {
  google::protobuf::Duration proto;
  proto.set_seconds(duration.count() / 1000);
  proto.set_nanos(static_cast<int32_t>(duration.count() % 1000 * 1'000'000));
  return proto;
}

void AttentionArguments::AddTo(CLI::App& app) {
  app.add_option("--target", target, "full, dipr, top_k or mass; default: the planner's choice")
      ->check(CLI::IsMember({"full", "dipr", "top_k", "mass"}));
  app.add_option("--alpha", alpha, "dipr: least weight relative to the largest, in (0, 1]");
  app.add_option("--k", k, "top_k: tokens per query head");
  app.add_option("--fraction", fraction, "mass: share of the attention to cover, in (0, 1]");
  app.add_option("--scale", scale, "Factor from score to logit; default 1/sqrt(head_dim)");
  app.add_option("--sink", sink, "First tokens always attended; default 128");
  app.add_option("--recent", recent, "Last tokens always attended; default 512");
  app.add_option("--range", range, "Only tokens begin:end");
  app.add_flag("--tail-estimate,!--no-tail-estimate", tail_estimate,
               "Merge an estimate of the rest; default: the planner's choice");
}

StatusOr<pb::AttendOptions> AttentionArguments::ToProto() const {
  ALAYA_RETURN_IF_ERROR(OnlyWith(alpha.has_value(), "--alpha", "dipr", target));
  ALAYA_RETURN_IF_ERROR(OnlyWith(k.has_value(), "--k", "top_k", target));
  ALAYA_RETURN_IF_ERROR(OnlyWith(fraction.has_value(), "--fraction", "mass", target));
  pb::AttendOptions options;
  if (target == "full") options.mutable_full();
  if (target == "dipr") options.mutable_dipr()->set_alpha(alpha.value_or(0));
  if (target == "top_k") options.mutable_top_k()->set_k(k.value_or(100));
  if (target == "mass") options.mutable_mass()->set_fraction(fraction.value_or(0.95));
  if (scale.has_value()) options.set_scale(*scale);
  if (sink.has_value() || recent.has_value()) {
    options.mutable_window()->set_sink(sink.value_or(128));
    options.mutable_window()->set_recent(recent.value_or(512));
  }
  if (range.has_value()) {
    ALAYA_ASSIGN_OR_RETURN(*options.mutable_token_range(), ParseTokenRange(*range));
  }
  if (tail_estimate.has_value()) options.set_tail_estimate(*tail_estimate);
  return options;
}

void QueryArguments::AddTo(CLI::App& app) {
  app.add_option("--queries", file,
                 "Queries [T, query_heads, head_dim] from .npy, .npz or .safetensors; "
                 "without it random ones");
  app.add_option("--array", array, "Name of the array in the file")->capture_default_str();
  app.add_option("--random", random_count, "Number of random queries")->capture_default_str();
  app.add_option("--seed", seed, "Of the random queries")->capture_default_str();
}

StatusOr<pb::Tensor> QueryArguments::Load(const pb::Model& model) const {
  if (file.empty()) {
    std::vector<float> elements(size_t{random_count} * model.num_query_heads() * model.head_dim());
    RandomVectors(seed).Fill(1.0F, elements);
    return MakeTensor(elements, random_count, model.num_query_heads(), model.head_dim());
  }
  ALAYA_ASSIGN_OR_RETURN(const auto opened, ArrayFile::Open(file));
  const ArrayInfo* info = opened->Find(file.ends_with(".npy") ? "" : array);
  if (info == nullptr) return NotFound(file + ": no array '" + array + "'; name it with --array");
  if (info->shape.size() != 3) {
    return InvalidArgument(file + ": shape " + ShapeText(info->shape) +
                           ", expected [T,query_heads,head_dim]");
  }
  constexpr uint64_t kBytesMax = uint64_t{64} << 20;  // a message's limit
  if (info->bytes > kBytesMax) {
    return InvalidArgument(file + ": " + std::to_string(info->bytes) + " bytes of queries, limit " +
                           std::to_string(kBytesMax));
  }
  ALAYA_ASSIGN_OR_RETURN(const DType dtype, QueryDType(*info));
  ALAYA_ASSIGN_OR_RETURN(const auto reader, opened->OpenArray(*info));
  std::vector<std::byte> bytes(info->bytes);
  ALAYA_RETURN_IF_ERROR(reader->Read(bytes));
  return MakeTensor(TensorView{dtype, info->shape[0], info->shape[1], info->shape[2], bytes});
}

StatusOr<pb::Model> FindModel(const Client& client, std::string_view name) {
  ALAYA_ASSIGN_OR_RETURN(const pb::ListModelsResponse models, client.ListModels());
  for (const pb::Model& model : models.models()) {
    if (model.name() == name) return model;
  }
  return NotFound("model '" + std::string(name) + "' is not registered");
}

}  // namespace alaya::client
