// How attention results are shown to people.

#ifndef ALAYA_CLIENT_CLI_ATTENTION_REPORT_H_
#define ALAYA_CLIENT_CLI_ATTENTION_REPORT_H_

#include <string>

#include "alaya/v1/attention.pb.h"
#include "alaya/v1/session_service.pb.h"
#include "client/client.h"
#include "storage/types/status.h"

namespace alaya::client {

std::string TierText(pb::Tier tier);
std::string IndexKindText(pb::IndexKind kind);

// Figures, plans, and with explain the rejected plans and spread over heads.
std::string StatsText(const pb::AttendStats& stats);

// Norms of the output and log_sum_exp, a row per query. Errors: a malformed answer.
StatusOr<std::string> OutputText(const pb::AttendResult& result);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_CLI_ATTENTION_REPORT_H_
