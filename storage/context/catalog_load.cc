// Reading the catalog at start.

#include <algorithm>
#include <utility>

#include "storage/context/catalog.h"

namespace alaya {

struct Catalog::LoadedRecords {
  std::vector<RegisteredModel> models;
  std::vector<ContextRecord> contexts;
  std::vector<SegmentRecord> segments;
  std::map<SegmentId, std::vector<IndexRecord>> indexes;
  // Sizes of the records of a segment's tokens, by chunk_index: tokens are not kept.
  std::map<SegmentId, std::map<uint32_t, size_t>> token_counts;
  // But those at which contexts may part, where they begin or end in a segment: they are
  // all that placing contexts in the prefix tree mostly needs.
  std::map<SegmentId, std::map<uint64_t, TokenId>> parting_tokens;
  IdLimitRecord id_limit;

  void NotePartings(const ContextRecord& context) {
    for (const ContextRecord::Link& link : context.chain) {
      parting_tokens[link.segment][0];
      parting_tokens[link.segment][link.token_count];
    }
  }
  void TakeTokens(const TokensRecord& record) {
    token_counts[record.segment][record.chunk_index] = record.tokens.size();
    const uint64_t begin = uint64_t{record.chunk_index} * kTokensPerRecord;
    auto& partings = parting_tokens[record.segment];
    const auto end = partings.lower_bound(begin + record.tokens.size());
    for (auto parting = partings.lower_bound(begin); parting != end; ++parting) {
      parting->second = record.tokens[parting->first - begin];
    }
  }
};

namespace {

std::string SegmentName(SegmentId id) { return "segment " + std::to_string(ToInt(id)); }

}  // namespace

Catalog::Catalog(Database* database, const TokenReader* tokens, const SegmentReaper* reaper,
                 const MergeOptions& merge)
    : database_(database), tokens_(tokens), reaper_(reaper), merge_(merge) {}

StatusOr<Catalog::LoadedRecords> Catalog::ReadRecords() const {
  LoadedRecords records;
  ALAYA_RETURN_IF_ERROR(
      database_->ScanCatalog([&](std::string_view key, std::string_view value) -> Status {
        ALAYA_ASSIGN_OR_RETURN(const RecordKind kind, DecodeRecordKind(key));
        switch (kind) {
          case RecordKind::kContext: {
            ALAYA_ASSIGN_OR_RETURN(ContextRecord context, DecodeContextRecord(key, value));
            // Keys sort contexts before tokens.
            records.NotePartings(context);
            records.contexts.push_back(std::move(context));
            break;
          }
          case RecordKind::kIdLimit: {
            ALAYA_ASSIGN_OR_RETURN(records.id_limit, DecodeIdLimitRecord(key, value));
            break;
          }
          case RecordKind::kModel: {
            ALAYA_ASSIGN_OR_RETURN(RegisteredModel model, DecodeModelRecord(key, value));
            records.models.push_back(std::move(model));
            break;
          }
          case RecordKind::kSegment: {
            ALAYA_ASSIGN_OR_RETURN(SegmentRecord segment, DecodeSegmentRecord(key, value));
            records.segments.push_back(std::move(segment));
            break;
          }
          case RecordKind::kIndex: {
            ALAYA_ASSIGN_OR_RETURN(IndexRecord index, DecodeIndexRecord(key, value));
            records.indexes[index.segment].push_back(std::move(index));
            break;
          }
          case RecordKind::kTokens: {
            ALAYA_ASSIGN_OR_RETURN(const TokensRecord tokens, DecodeTokensRecord(key, value));
            records.TakeTokens(tokens);
            break;
          }
        }
        return OkStatus();
      }));
  return records;
}

// Whether all tokens of a segment are there.
Status Catalog::CheckTokens(const LoadedRecords& records, const SegmentRecord& segment) {
  const auto chunks = records.token_counts.find(segment.id);
  if (chunks == records.token_counts.end()) {
    return DataLoss(SegmentName(segment.id) + ": its tokens are missing");
  }
  uint64_t token_count = 0;
  for (const auto& [chunk_index, count] : chunks->second) {
    if (chunk_index * uint64_t{kTokensPerRecord} != token_count) {
      return DataLoss(SegmentName(segment.id) + ": some of its tokens are missing");
    }
    token_count += count;
  }
  if (token_count == segment.token_count) return OkStatus();
  return DataLoss(SegmentName(segment.id) + ": its records contradict each other");
}

StatusOr<std::map<SegmentId, std::shared_ptr<const Segment>>> Catalog::BuildSegments(
    const LoadedRecords& records) const {
  std::map<ModelId, ModelPointer> models;
  for (const auto& [name, model] : models_) models[model->id] = model;
  std::map<SegmentId, std::shared_ptr<const Segment>> segments;
  for (const SegmentRecord& record : records.segments) {
    const auto model = models.find(record.model);
    if (model == models.end()) return DataLoss(SegmentName(record.id) + ": its model is missing");
    auto segment = std::make_unique<Segment>();
    segment->id = record.id;
    segment->model = model->second;
    segment->tenant = record.tenant;
    segment->token_begin = record.token_begin;
    segment->query_counts = record.query_counts;
    segment->stored_bytes = record.stored_bytes;
    segment->wanted_indexes = record.wanted_indexes;
    segment->token_count = record.token_count;
    ALAYA_RETURN_IF_ERROR(CheckTokens(records, record));
    if (record.token_count == 0 ||
        segment->query_counts.size() != segment->model->model.num_layers) {
      return DataLoss(SegmentName(record.id) + ": its records contradict each other");
    }
    if (const auto indexes = records.indexes.find(record.id); indexes != records.indexes.end()) {
      ALAYA_RETURN_IF_ERROR(AddIndexes(indexes->second, *segment));
    }
    segments[record.id] = reaper_->Adopt(std::move(segment));
  }
  return segments;
}

Status Catalog::AddIndexes(const std::vector<IndexRecord>& records, const Segment& segment) const {
  const Model& model = segment.model->model;
  for (const IndexRecord& record : records) {
    if (record.block_counts.size() != size_t{model.num_layers} * model.num_kv_heads) {
      return DataLoss(SegmentName(segment.id) + ": the record of its index of kind " +
                      std::to_string(record.kind) + " is for another shape");
    }
    auto index = std::make_unique<StoredIndex>();
    index->id = record.id;
    index->kind = record.kind;
    index->version = record.version;
    index->num_kv_heads = model.num_kv_heads;
    index->block_counts = record.block_counts;
    index->stored_bytes = record.stored_bytes;
    segment.indexes.Publish(reaper_->Adopt(std::move(index)));
  }
  return OkStatus();
}

Status Catalog::BuildContexts(const LoadedRecords& records) {
  std::map<ModelId, ModelPointer> models;
  for (const auto& [name, model] : models_) models[model->id] = model;
  ALAYA_ASSIGN_OR_RETURN(const auto segments, BuildSegments(records));
  const TokenSource read = [&](const Segment& segment, uint64_t offset,
                               uint64_t wanted_count) -> StatusOr<TokenStretch> {
    const auto& partings = records.parting_tokens.at(segment.id);
    if (const auto parting = partings.find(offset); parting != partings.end()) {
      return TokenStretch(std::span(&parting->second, 1));
    }
    return tokens_->Read(segment, offset, wanted_count);
  };
  for (const ContextRecord& record : records.contexts) {
    auto context = std::make_shared<StoredContext>();
    context->id = record.id;
    context->tenant = record.tenant;
    context->labels = record.labels;
    context->create_time = record.create_time;
    context->expire_time = record.expire_time;
    context->pinned = record.pinned;
    const auto model = models.find(record.model);
    bool sound = model != models.end() && !record.chain.empty();
    for (const ContextRecord::Link& link : record.chain) {
      const auto segment = segments.find(link.segment);
      sound = sound && segment != segments.end() && link.token_count > 0 &&
              link.token_count <= segment->second->token_count &&
              segment->second->token_begin == context->token_count();
      if (!sound) break;
      context->chain.push_back({segment->second, link.token_count});
    }
    if (!sound) return DataLoss("context '" + record.id + "': its chain is broken");
    context->model = model->second;
    ALAYA_ASSIGN_OR_RETURN(const PrefixTree::Place place,
                           TreeOf(*context).FindPlace(*context, read));
    AddToMemory(context, place);
    if (merge_.segments_min > 0) unmerged_names_.emplace(context->tenant, context->id);
  }
  return OkStatus();
}

StatusOr<std::unique_ptr<Catalog>> Catalog::Load(Database* database, const TokenReader* tokens,
                                                 const SegmentReaper* reaper,
                                                 const MergeOptions& merge) {
  std::unique_ptr<Catalog> catalog(new Catalog(database, tokens, reaper, merge));
  ALAYA_ASSIGN_OR_RETURN(const LoadedRecords records, catalog->ReadRecords());
  for (const RegisteredModel& model : records.models) {
    catalog->models_[model.model.name] = std::make_shared<RegisteredModel>(model);
  }
  ALAYA_RETURN_IF_ERROR(catalog->BuildContexts(records));
  catalog->next_segment_id_ = records.id_limit.segment_id_limit;
  catalog->segment_id_limit_ = records.id_limit.segment_id_limit;
  if (database->read_only()) return catalog;
  CatalogBatch unlinked;
  for (const SegmentRecord& segment : records.segments) {
    if (!catalog->IsLinked(segment.id)) unlinked.Erase(SegmentKey(segment.id));
  }
  for (const auto& [segment, chunks] : records.token_counts) {
    if (catalog->IsLinked(segment)) continue;
    for (const auto& [chunk_index, count] : chunks) unlinked.Erase(TokensKey(segment, chunk_index));
  }
  for (const auto& [segment, indexes] : records.indexes) {
    if (catalog->IsLinked(segment)) continue;
    for (const IndexRecord& index : indexes) unlinked.Erase(IndexKey(segment, index.kind));
  }
  if (!unlinked.empty()) ALAYA_RETURN_IF_ERROR(database->WriteCatalog(unlinked));
  return catalog;
}

}  // namespace alaya
