#include "server/engine/context_import.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "server/engine/request_checks.h"
#include "server/engine/tensor_checks.h"

namespace alaya {

Status CheckedImport::CheckChunk(const ImportChunk& chunk) const {
  const Model& model = model_->model;
  ALAYA_RETURN_IF_ERROR(CheckLayer(chunk.layer, model));
  const uint64_t token_count = context_->token_count();
  ALAYA_RETURN_IF_ERROR(CheckKeyOrValue("key", chunk.key, model, token_count));
  ALAYA_RETURN_IF_ERROR(CheckKeyOrValue("value", chunk.value, model, token_count));
  if (chunk.key.tokens != chunk.value.tokens) {
    return InvalidArgument(fmt::format("key has {} tokens, value has {}: must be equal",
                                       chunk.key.tokens, chunk.value.tokens));
  }
  if (chunk.token_begin > token_count || chunk.key.tokens > token_count - chunk.token_begin) {
    return InvalidArgument(
        fmt::format("layer {}: chunk of {} tokens at {} ends after the "
                    "context's {} tokens",
                    ToInt(chunk.layer), chunk.key.tokens, chunk.token_begin, token_count));
  }
  if (chunk.query) return CheckQuery("query", *chunk.query, model, token_count);
  return OkStatus();
}

StatusOr<uint64_t> CheckedImport::FirstNewToken(const ImportChunk& chunk) const {
  const uint64_t stored = context_->prefix_token_count();
  const uint64_t expected = stored + context_->writer().appended_tokens(chunk.layer);
  // The reused prefix may be repeated; what came in a chunk before may not.
  if (std::max(chunk.token_begin, stored) == expected) return expected;
  return FailedPrecondition(
      chunk.token_begin > expected
          ? fmt::format("layer {}: tokens [{}, {}) are missing before the chunk at {}",
                        ToInt(chunk.layer), expected, chunk.token_begin, chunk.token_begin)
          : fmt::format("layer {}: chunk at {} repeats tokens, the next one is {}",
                        ToInt(chunk.layer), chunk.token_begin, expected));
}

Status CheckedImport::AddChunk(const ImportChunk& chunk) {
  ALAYA_RETURN_IF_ERROR(failure_);
  if (context_ == nullptr) return FailedPrecondition("the import is finished");
  ALAYA_RETURN_IF_ERROR(CheckChunk(chunk));
  const Model& model = model_->model;
  if (chunk.token_begin + chunk.key.tokens <= context_->prefix_token_count()) return OkStatus();
  ALAYA_ASSIGN_OR_RETURN(const uint64_t first_new, FirstNewToken(chunk));
  std::optional<std::string> queries;
  if (chunk.query) {
    ALAYA_ASSIGN_OR_RETURN(queries, ConvertElements("query", *chunk.query, model.dtype));
  }

  const size_t skipped_bytes =
      (first_new - chunk.token_begin) * model.num_kv_heads * model.row_bytes();
  failure_ = context_->writer().Append(chunk.layer, chunk.key.data.subspan(skipped_bytes),
                                       chunk.value.data.subspan(skipped_bytes));
  if (failure_.ok() && queries) {
    failure_ = context_->writer().AppendQueries(chunk.layer, std::as_bytes(std::span(*queries)));
  }
  return failure_;
}

StatusOr<ImportResult> CheckedImport::Finish() {
  ALAYA_RETURN_IF_ERROR(failure_);
  if (context_ == nullptr) return FailedPrecondition("the import is finished");
  const uint64_t expected = context_->token_count() - context_->prefix_token_count();
  for (uint32_t layer = 0; layer < model_->model.num_layers; ++layer) {
    const uint64_t appended = context_->writer().appended_tokens(LayerIndex{layer});
    if (appended == expected) continue;
    return FailedPrecondition(fmt::format("layer {}: tokens [{}, {}) are missing", layer,
                                          context_->prefix_token_count() + appended,
                                          context_->token_count()));
  }
  const std::unique_ptr<NewContext> context = std::move(context_);
  ALAYA_ASSIGN_OR_RETURN(const ContextWriter::Committed committed, context->Commit());
  return ImportResult{committed.context->id, context->prefix_token_count(), committed.stored_bytes};
}

}  // namespace alaya
