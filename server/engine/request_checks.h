// What names, labels, times and models from outside must look like. The limits are
// those that the API documents; every message says which value broke which one.

#ifndef ALAYA_SERVER_ENGINE_REQUEST_CHECKS_H_
#define ALAYA_SERVER_ENGINE_REQUEST_CHECKS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "storage/context/stored_context.h"
#include "storage/types/model.h"
#include "storage/types/status.h"

namespace alaya {

// All errors: InvalidArgument.

Status CheckModel(const Model& model);
Status CheckContextId(std::string_view id);
Status CheckLabels(const Labels& labels);
Status CheckTimeToLive(std::optional<std::chrono::milliseconds> ttl);
// A new context's token count.
Status CheckContextTokens(uint64_t token_count, uint64_t token_count_max);
Status CheckLayer(LayerIndex layer, const Model& model);
Status CheckTokenRange(const std::optional<TokenRange>& range);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_REQUEST_CHECKS_H_
