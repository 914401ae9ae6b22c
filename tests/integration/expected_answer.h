// What the server must answer, by the definition of attention, in double.

#ifndef ALAYA_TESTS_INTEGRATION_EXPECTED_ANSWER_H_
#define ALAYA_TESTS_INTEGRATION_EXPECTED_ANSWER_H_

#include <gtest/gtest.h>

#include <cstdint>

#include "alaya/v1/context_service.pb.h"
#include "alaya/v1/session_service.pb.h"
#include "tests/integration/kv_sequence.h"

namespace alaya {

// What a session holds when an item arrives.
struct SessionState {
  uint64_t token_count = 0;    // reused prefix and tail, the item's own tokens not counted
  uint64_t reused_tokens = 0;  // the tail, which is always attended, begins here
};

// True if `result` is the attention that `item` asks for over `sequence`: the output of
// every head within 2e-4 of the oracle's relative to its norm, plus what rounding to the
// query's dtype may take; log_sum_exp within 1e-3. A token whose score lies so close to a
// target's bar that float and double may disagree may be attended or not.
testing::AssertionResult AnswersItem(const KvSequence& sequence, SessionState state,
                                     const pb::AttendItem& item, const pb::AttendResult& result);

// True if `response` holds exactly the tokens that `request` asks for, by falling score.
testing::AssertionResult AnswersSearch(const KvSequence& sequence,
                                       const pb::SearchContextRequest& request,
                                       const pb::SearchContextResponse& response);

}  // namespace alaya

#endif  // ALAYA_TESTS_INTEGRATION_EXPECTED_ANSWER_H_
