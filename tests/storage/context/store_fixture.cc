#include "store_fixture.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

namespace alaya {
namespace {

// Bytes that depend on every argument.
uint64_t Mix(uint64_t x) {
  x ^= x >> 31;
  x *= 0x7FB5D329728EA185ULL;
  x ^= x >> 27;
  x *= 0x81DADEF4BC2DD44DULL;
  return x ^ (x >> 33);
}

}  // namespace

Model TestModel() {
  return {.name = "test",
          .num_layers = 2,
          .num_query_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 64,
          .dtype = DType::kBF16};
}

WallTime TimeAt(int64_t milliseconds) { return WallTime(std::chrono::milliseconds(milliseconds)); }

std::vector<TokenId> SomeTokens(size_t count, uint32_t seed) {
  std::vector<TokenId> tokens(count);
  for (size_t i = 0; i < count; ++i) {
    tokens[i] = static_cast<TokenId>(Mix(uint64_t{seed} << 32 | i) % 50'000);
  }
  return tokens;
}

std::vector<std::byte> Rows(const Model& model, uint32_t seed, uint32_t layer, PageKind kind,
                            uint64_t begin, uint64_t count) {
  const size_t heads = kind == PageKind::kQuery ? model.num_query_heads : model.num_kv_heads;
  const size_t words = heads * model.row_bytes() / sizeof(uint64_t);
  std::vector<std::byte> bytes(count * words * sizeof(uint64_t));
  const uint64_t source =
      Mix(uint64_t{seed} << 16 | uint64_t{layer} << 4 | static_cast<uint64_t>(kind));
  for (uint64_t i = 0; i < count * words; ++i) {
    const uint64_t word = Mix(source + begin * words + i);
    std::memcpy(bytes.data() + i * sizeof(word), &word, sizeof(word));
  }
  return bytes;
}

ContextDraft Draft(ContextStore& store, const ContextSpec& spec) {
  ContextDraft draft;
  draft.id = spec.id;
  draft.tenant = spec.tenant;
  draft.model = store.FindModel("test").value();
  draft.prefix = spec.prefix;
  draft.tokens = spec.tokens;
  draft.labels = spec.labels;
  draft.create_time = TimeAt(spec.create_time_ms);
  draft.expire_time = spec.expire_time;
  return draft;
}

Status Fill(ContextWriter& writer, const Model& model, const ContextSpec& spec) {
  const uint64_t count = spec.tokens.size();
  const auto append = [&](uint32_t layer, uint64_t begin) {
    const uint64_t rows = std::min(spec.chunk_tokens, count - begin);
    return writer.Append(LayerIndex{layer},
                         Rows(model, spec.seed, layer, PageKind::kKey, begin, rows),
                         Rows(model, spec.seed, layer, PageKind::kValue, begin, rows));
  };
  const uint64_t chunk_count = (count + spec.chunk_tokens - 1) / spec.chunk_tokens;
  const uint64_t steps = chunk_count * model.num_layers;
  for (uint64_t step = 0; step < steps; ++step) {
    const uint64_t layer = spec.layers_interleaved ? step % model.num_layers : step / chunk_count;
    const uint64_t chunk = spec.layers_interleaved ? step / model.num_layers : step % chunk_count;
    ALAYA_RETURN_IF_ERROR(append(static_cast<uint32_t>(layer), chunk * spec.chunk_tokens));
  }
  // From the last layer to the first: queries may come in any order.
  for (uint32_t layer = model.num_layers; spec.queries > 0 && layer-- > 0;) {
    ALAYA_RETURN_IF_ERROR(writer.AppendQueries(
        LayerIndex{layer}, Rows(model, spec.seed, layer, PageKind::kQuery, 0, spec.queries)));
  }
  return OkStatus();
}

StatusOr<ContextWriter::Committed> Import(ContextStore& store, const ContextSpec& spec) {
  ALAYA_ASSIGN_OR_RETURN(const auto writer, store.BeginContext(Draft(store, spec)));
  ALAYA_RETURN_IF_ERROR(Fill(*writer, store.FindModel("test").value()->model, spec));
  return writer->Commit();
}

namespace {

// Compares one page with the rows of all heads that it was cut from.
Status VerifyPage(ContextStore& store, const Segment& segment, const PageId& id,
                  std::span<const std::byte> rows, size_t head_count) {
  const size_t row_bytes = segment.model->model.row_bytes();
  ALAYA_ASSIGN_OR_RETURN(const PinnedPage page, store.ReadPage(segment, id));
  const size_t row_count = rows.size() / (head_count * row_bytes);
  if (page.payload().size() != row_count * row_bytes) {
    return Internal(ToString(id) + ": wrong size " + std::to_string(page.payload().size()));
  }
  for (size_t row = 0; row < row_count; ++row) {
    const std::byte* expected = rows.data() + (row * head_count + id.head) * row_bytes;
    if (std::memcmp(page.payload().data() + row * row_bytes, expected, row_bytes) != 0) {
      return Internal(ToString(id) + ": wrong bytes in row " + std::to_string(row));
    }
  }
  return OkStatus();
}

}  // namespace

Status VerifySegment(ContextStore& store, const Segment& segment, uint32_t seed) {
  const Model& model = segment.model->model;
  const uint64_t page_tokens = PageTokens(model);
  for (uint32_t layer = 0; layer < model.num_layers; ++layer) {
    for (const PageKind kind : {PageKind::kKey, PageKind::kValue, PageKind::kQuery}) {
      const bool is_query = kind == PageKind::kQuery;
      const uint64_t total = is_query ? segment.query_counts[layer] : segment.token_count;
      const uint32_t heads = is_query ? model.num_query_heads : model.num_kv_heads;
      for (uint64_t begin = 0; begin < total; begin += page_tokens) {
        const uint64_t count = std::min(page_tokens, total - begin);
        const auto rows = Rows(model, seed, layer, kind, begin, count);
        for (uint32_t head = 0; head < heads; ++head) {
          const PageId id{segment.id, layer, static_cast<uint32_t>(begin / page_tokens), kind,
                          head};
          ALAYA_RETURN_IF_ERROR(VerifyPage(store, segment, id, rows, heads));
        }
      }
    }
  }
  return OkStatus();
}

namespace {

// All heads' rows of a kind of the chain's tokens, as Rows has them.
StatusOr<std::vector<std::byte>> ReadChain(ContextStore& store,
                                           const std::vector<SegmentLink>& chain, uint32_t layer,
                                           PageKind kind) {
  const Model& model = chain.front().segment->model->model;
  const size_t row_bytes = model.row_bytes();
  const size_t heads = model.num_kv_heads;
  std::vector<std::byte> bytes;
  for (const SegmentLink& link : chain) {
    const size_t begin = bytes.size();
    bytes.resize(begin + link.token_count * heads * row_bytes);
    for (uint64_t token = 0; token < link.token_count; ++token) {
      const uint64_t page_tokens = PageTokens(model);
      for (uint32_t head = 0; head < heads; ++head) {
        const PageId id{link.segment->id, layer, static_cast<uint32_t>(token / page_tokens), kind,
                        head};
        ALAYA_ASSIGN_OR_RETURN(const PinnedPage page, store.ReadPage(*link.segment, id));
        std::memcpy(bytes.data() + begin + (token * heads + head) * row_bytes,
                    page.payload().data() + token % page_tokens * row_bytes, row_bytes);
      }
    }
  }
  return bytes;
}

}  // namespace

Status VerifyChain(ContextStore& store, const std::vector<SegmentLink>& chain,
                   const std::vector<FilledPart>& parts) {
  const Model& model = chain.front().segment->model->model;
  for (uint32_t layer = 0; layer < model.num_layers; ++layer) {
    for (const PageKind kind : {PageKind::kKey, PageKind::kValue}) {
      std::vector<std::byte> expected;
      for (const auto& [seed, count] : parts) {
        const auto rows = Rows(model, seed, layer, kind, 0, count);
        expected.insert(expected.end(), rows.begin(), rows.end());
      }
      ALAYA_ASSIGN_OR_RETURN(const auto found, ReadChain(store, chain, layer, kind));
      if (found == expected) continue;
      return Internal("layer " + std::to_string(layer) + ": " + std::to_string(found.size()) +
                      " bytes differ from the " + std::to_string(expected.size()) + " written");
    }
  }
  return OkStatus();
}

std::vector<TokenId> ChainTokens(const ContextStore& store, const std::vector<SegmentLink>& chain) {
  auto tokens = store.ReadTokens(chain, {0, chain.back().range().end});
  EXPECT_TRUE(tokens.ok()) << tokens.status().ToString();
  return tokens.value_or(std::vector<TokenId>());
}

uint64_t DiskBytes(const std::string& directory) {
  uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory, error)) {
    const auto size = entry.is_regular_file(error) ? entry.file_size(error) : 0;
    if (!error) bytes += size;
  }
  return bytes;
}

StatusOr<std::unique_ptr<ContextStore>> StoreTest::OpenAt(const std::string& directory) {
  return ContextStore::Open({.directory = directory,
                             .memory_budget_bytes = kBudget,
                             .disk_reserve_bytes = 0,
                             .accept_damage = accept_damage_});
}

void StoreTest::Reopen() {
  store_.reset();
  auto store = OpenAt(directory_ / "data");
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  store_ = *std::move(store);
  ASSERT_OK(store_->RegisterModel(model_).status());
}

}  // namespace alaya
