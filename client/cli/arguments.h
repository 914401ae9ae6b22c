// Words of the command line: durations, labels, ranges, element types, and the options
// and queries of an attention.

#ifndef ALAYA_CLIENT_CLI_ARGUMENTS_H_
#define ALAYA_CLIENT_CLI_ARGUMENTS_H_

#include <CLI/App.hpp>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "alaya/v1/attention.pb.h"
#include "alaya/v1/model.pb.h"
#include "client/client.h"
#include "storage/types/dtype.h"
#include "storage/types/status.h"

namespace alaya::client {

// "90s", "1h30m", "500ms", "2d"; 0 needs no unit.
StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text);
// "name=value" words.
StatusOr<std::map<std::string, std::string>> ParseLabels(const std::vector<std::string>& words);
std::string LabelsText(const google::protobuf::Map<std::string, std::string>& labels);
// "100:200"; either side may be left out.
StatusOr<pb::TokenRange> ParseTokenRange(std::string_view text);
StatusOr<DType> ParseDType(std::string_view text);

google::protobuf::Duration ToProto(std::chrono::milliseconds duration);

// Options that say which tokens are attended.
struct AttentionArguments {
  std::string target;
  std::optional<double> alpha;
  std::optional<uint32_t> k;
  std::optional<double> fraction;
  std::optional<double> scale;
  std::optional<uint32_t> sink;
  std::optional<uint32_t> recent;
  std::optional<std::string> range;
  std::optional<bool> tail_estimate;

  void AddTo(CLI::App& app);
  // Errors: InvalidArgument for an option that does not go with the target.
  StatusOr<pb::AttendOptions> ToProto() const;
};

// Where query vectors come from.
struct QueryArguments {
  std::string file;
  std::string array = "query";
  uint32_t random_count = 1;
  uint64_t seed = 1;

  void AddTo(CLI::App& app);
  // [T, Hq, D]: the file's, or random ones of the model's shape.
  StatusOr<pb::Tensor> Load(const pb::Model& model) const;
};

StatusOr<pb::Model> FindModel(const Client& client, std::string_view name);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_ARGUMENTS_H_
