// Numbers that must not be taken for one another.

#ifndef ALAYA_STORAGE_TYPES_IDS_H_
#define ALAYA_STORAGE_TYPES_IDS_H_

#include <cstddef>
#include <cstdint>

namespace alaya {

enum class ModelId : uint32_t {};      // unique in a data directory, from 1
enum class SegmentId : uint64_t {};    // unique in a data directory, from 1, never reused
enum class LayerIndex : uint32_t {};   // from 0
enum class KvHeadIndex : uint32_t {};  // from 0

constexpr uint32_t ToInt(ModelId id) { return static_cast<uint32_t>(id); }
constexpr uint64_t ToInt(SegmentId id) { return static_cast<uint64_t>(id); }
constexpr uint32_t ToInt(LayerIndex index) { return static_cast<uint32_t>(index); }
constexpr uint32_t ToInt(KvHeadIndex index) { return static_cast<uint32_t>(index); }

using TokenId = uint32_t;  // an entry of the model's vocabulary

// Token positions [begin, end) of a sequence.
struct TokenRange {
  uint64_t begin = 0;
  uint64_t end = 0;

  constexpr uint64_t size() const { return end > begin ? end - begin : 0; }
  constexpr bool empty() const { return end <= begin; }
  constexpr bool contains(uint64_t token) const { return token >= begin && token < end; }
  friend bool operator==(const TokenRange&, const TokenRange&) = default;
};

constexpr TokenRange Intersect(TokenRange a, TokenRange b) {
  return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
}

}  // namespace alaya

#endif  // ALAYA_STORAGE_TYPES_IDS_H_
