// What an attention item and its options must look like.

#ifndef ALAYA_SERVER_ENGINE_ATTEND_CHECKS_H_
#define ALAYA_SERVER_ENGINE_ATTEND_CHECKS_H_

#include <optional>

#include "index/target.h"
#include "server/engine/attend_types.h"
#include "server/engine/engine.h"
#include "storage/types/model.h"
#include "storage/types/status.h"

namespace alaya {

// All errors: InvalidArgument.

// Everything that can be said of an item without its session's tokens.
Status CheckAttendItem(const AttendItem& item, const Model& model, const EngineLimits& limits);

Status CheckScale(const std::optional<double>& scale);
Status CheckTarget(const Target& target);

// The scale to use: the given one or 1 / sqrt(head_dim).
float ScaleOrDefault(const std::optional<double>& scale, const Model& model);

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_ATTEND_CHECKS_H_
