#include "tests/server/engine/test_index.h"

#include <chrono>
#include <cstring>
#include <memory>
#include <span>
#include <thread>
#include <utility>

#include "index/exact_index.h"

namespace alaya {
namespace {

class TestIndex : public TokenIndex {
 public:
  TestIndex(IndexKind kind, const IndexBlockReader* blocks, const KvReader* kv,
            TestIndexControl* control)
      : kind_(kind), blocks_(blocks), scan_(kv), control_(control) {}

  IndexKind kind() const override { return kind_; }
  StatusOr<SearchResult> Search(const SearchRequest& request) const override {
    for (size_t block = 0; block < blocks_->block_count(); ++block) {
      ALAYA_RETURN_IF_ERROR(blocks_->ReadBlock(block).status());
    }
    if (control_->search_is_damaged) return DataLoss("the test's index is damaged");
    ++control_->search_count;
    return scan_.Search(request);
  }

 private:
  IndexKind kind_;
  const IndexBlockReader* blocks_;
  ExactIndex scan_;
  TestIndexControl* control_;
};

// First the number of tokens, then the keys, a block each.
Status Build(const IndexBuildInput& input, const IndexBlockSink& sink, TestIndexControl* control) {
  ++control->build_count;
  {
    const std::scoped_lock lock(control->mutex);
    std::vector<float>& queries = control->queries.emplace_back();
    for (size_t i = 0; i < input.queries.rows(); ++i) {
      const auto row = input.queries.row(i);
      queries.insert(queries.end(), row.begin(), row.end());
    }
  }
  while (control->build_waits) {
    if (input.should_stop()) return MakeError(StatusCode::kCancelled, "told to stop");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (control->build_fails) return Internal("the build fails on purpose");
  const uint64_t token_count = input.kv->token_count();
  ALAYA_RETURN_IF_ERROR(sink(std::as_bytes(std::span(&token_count, 1))));
  for (size_t block = 0; block < input.kv->block_count(); ++block) {
    ALAYA_ASSIGN_OR_RETURN(const PinnedRows rows, input.kv->ReadBlock(KvKind::kKey, block));
    ALAYA_RETURN_IF_ERROR(sink(rows.rows.bytes()));
  }
  return OkStatus();
}

StatusOr<std::unique_ptr<TokenIndex>> Open(IndexKind kind, const IndexBlockReader* blocks,
                                           const KvReader* kv, TestIndexControl* control) {
  ALAYA_ASSIGN_OR_RETURN(const PinnedBytes first, blocks->ReadBlock(0));
  uint64_t token_count = 0;
  if (first.bytes.size() != sizeof(token_count)) return DataLoss("the first block is too long");
  std::memcpy(&token_count, first.bytes.data(), sizeof(token_count));
  if (token_count != kv->token_count()) return DataLoss("the index is of other keys");
  return std::make_unique<TestIndex>(kind, blocks, kv, control);
}

}  // namespace

IndexKindRow TestIndexKind(IndexKind kind, TestIndexControl* control, uint32_t version) {
  IndexKindRow row;
  row.kind = kind;
  row.name = IndexKindName(kind);
  row.version = version;
  row.wants_queries = kind == IndexKind::kFine;
  row.build = [control](const IndexBuildInput& input, const IndexBlockSink& sink) {
    return Build(input, sink, control);
  };
  row.open = [kind, control](const IndexBlockReader* blocks, const KvReader* kv) {
    return Open(kind, blocks, kv, control);
  };
  return row;
}

}  // namespace alaya
