// An index kind for tests: it keeps the keys' number and bytes, answers like the exact
// scan, and does on command what real ones do seldom: wait, fail, be damaged.

#ifndef ALAYA_TESTS_SERVER_ENGINE_TEST_INDEX_H_
#define ALAYA_TESTS_SERVER_ENGINE_TEST_INDEX_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "server/engine/index_kinds.h"

namespace alaya {

// Must outlive every index of its rows. Threads: any.
struct TestIndexControl {
  std::atomic<uint64_t> build_count{0};   // heads whose build began
  std::atomic<uint64_t> search_count{0};  // answered by an index
  std::atomic<bool> build_waits{false};   // until it is told to stop
  std::atomic<bool> build_fails{false};
  std::atomic<bool> search_is_damaged{false};
  std::mutex mutex;
  std::vector<std::vector<float>> queries;  // of every build, guarded by mutex
};

// `control` must outlive all that is built and opened.
IndexKindRow TestIndexKind(IndexKind kind, TestIndexControl* control, uint32_t version = 1);

}  // namespace alaya

#endif  // ALAYA_TESTS_SERVER_ENGINE_TEST_INDEX_H_
