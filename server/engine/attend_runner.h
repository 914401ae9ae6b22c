// Runs one attention item on its session: check, append, plan, attend, answer.

#ifndef ALAYA_SERVER_ENGINE_ATTEND_RUNNER_H_
#define ALAYA_SERVER_ENGINE_ATTEND_RUNNER_H_

#include "index/attention/attention_device.h"
#include "index/attention/backend.h"
#include "server/engine/attend_types.h"
#include "server/engine/engine.h"
#include "server/engine/planner.h"
#include "server/engine/session.h"
#include "server/engine/worker_pool.h"
#include "storage/context/context_store.h"

namespace alaya {

class IndexTable;  // server/engine/index_table.h

// Threads: any, one item of a session at a time.
class AttendRunner {
 public:
  // All pointers must outlive the runner; those with defaults may be null.
  AttendRunner(ContextStore* store, AttentionBackend* backend, Planner* planner, WorkerPool* pool,
               EngineLimits limits, IndexTable* indexes = nullptr,
               AttentionDevice* device = nullptr, WorkerPool* disk_pool = nullptr)
      : store_(store),
        backend_(backend),
        planner_(planner),
        pool_(pool),
        limits_(limits),
        indexes_(indexes),
        device_(device),
        disk_pool_(disk_pool != nullptr ? disk_pool : pool) {}

  // An item applies wholly or not at all: if its attention fails, what it appended is
  // taken back. Call on the session's strand.
  AttendResult Run(const AttendItem& item, Session* session) const;

 private:
  // Fills the result of an item with this query, whose keys are appended already.
  Status Answer(const TensorView& query, const AttendItem& item, const Session& session,
                AttendResult* result) const;
  // The same by plans that may use `device`, or may not: null.
  Status AnswerWith(AttentionDevice* device, const TensorView& query, const AttendItem& item,
                    const Session& session, AttendResult* result) const;

  ContextStore* store_;
  AttentionBackend* backend_;
  Planner* planner_;
  WorkerPool* pool_;
  EngineLimits limits_;
  IndexTable* indexes_;
  AttentionDevice* device_;
  WorkerPool* disk_pool_;  // for heads that mostly wait for the disk
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_ATTEND_RUNNER_H_
