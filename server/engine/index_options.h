// How indexes are built in the background, and what came of it.

#ifndef ALAYA_SERVER_ENGINE_INDEX_OPTIONS_H_
#define ALAYA_SERVER_ENGINE_INDEX_OPTIONS_H_

#include <cstdint>
#include <functional>

#include "index/graph/nearest_key_finder.h"
#include "server/engine/index_kinds.h"
#include "storage/types/ids.h"
#include "storage/types/status.h"

namespace alaya {

// An index was built, could not be built, or turned out damaged.
struct IndexEvent {
  enum class What { kBuilt, kBuildFailed, kDamaged };
  What what{};
  SegmentId segment{};
  IndexKind kind{};
  uint64_t token_count = 0;
  double seconds = 0;  // of a build
  Status status = {};  // why it failed, or what is damaged
};

struct IndexOptions {
  IndexKindTable kinds = StandardIndexKinds();
  // Threads that build; 0: nothing is built. Each builds one index at a time.
  uint32_t build_thread_count = 1;
  // Share of one core that each of them takes, in (0, 1].
  double build_cpu_share = 1;
  // Runs first on each of them. Null: the thread's scheduling priority is lowered, so
  // that queries come before builds.
  std::function<void()> on_build_thread_start;
  // Segments with at least as many tokens get the flat index if their writer did not
  // say what to build; below, the exact scan is as fast.
  uint64_t flat_min_tokens = 2048;
  // A layer of a session's tail with at least as many tokens is searched by an index
  // that grows with it; below, every token is attended.
  uint64_t tail_min_tokens = 4096;
  // A device that helps with fine indexes; null: none. It must outlive the engine.
  NearestKeyFinder* nearest_keys = nullptr;
  // Called from any thread; may be null.
  std::function<void(const IndexEvent&)> on_event;
};

struct IndexBuildStats {
  uint64_t pending = 0;  // queued
  uint64_t running = 0;
  uint64_t done = 0;  // since the start
  uint64_t failed = 0;
  uint64_t damaged = 0;  // indexes found damaged since the start
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_INDEX_OPTIONS_H_
