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
  std::map<SegmentId, std::map<uint32_t, std::vector<TokenId>>> tokens;
  IdLimitRecord id_limit;
};

namespace {

std::string SegmentName(SegmentId id) { return "segment " + std::to_string(ToInt(id)); }

}  // namespace

Catalog::Catalog(Database* database, const SegmentReaper* reaper, const MergeOptions& merge)
    : database_(database), reaper_(reaper), merge_(merge) {}

StatusOr<Catalog::LoadedRecords> Catalog::ReadRecords() const {
  LoadedRecords records;
  ALAYA_RETURN_IF_ERROR(
      database_->ScanCatalog([&](std::string_view key, std::string_view value) -> Status {
        ALAYA_ASSIGN_OR_RETURN(const RecordKind kind, DecodeRecordKind(key));
        switch (kind) {
          case RecordKind::kContext: {
            ALAYA_ASSIGN_OR_RETURN(ContextRecord context, DecodeContextRecord(key, value));
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
            ALAYA_ASSIGN_OR_RETURN(TokensRecord tokens, DecodeTokensRecord(key, value));
            records.tokens[tokens.segment][tokens.chunk_index] = std::move(tokens.tokens);
            break;
          }
        }
        return OkStatus();
      }));
  return records;
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
    uint32_t chunk_index = 0;
    std::vector<TokenId> all_tokens;
    const auto chunks = records.tokens.find(record.id);
    if (chunks == records.tokens.end()) {
      return DataLoss(SegmentName(record.id) + ": its tokens are missing");
    }
    for (const auto& [found_index, tokens] : chunks->second) {
      if (found_index != chunk_index++) {
        return DataLoss(SegmentName(record.id) + ": some of its tokens are missing");
      }
      all_tokens.insert(all_tokens.end(), tokens.begin(), tokens.end());
    }
    all_tokens.shrink_to_fit();
    segment->tokens = std::move(all_tokens);
    if (segment->token_count() != record.token_count || record.token_count == 0 ||
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
              link.token_count <= segment->second->token_count() &&
              segment->second->token_begin == context->token_count();
      if (!sound) break;
      context->chain.push_back({segment->second, link.token_count});
    }
    if (!sound) return DataLoss("context '" + record.id + "': its chain is broken");
    context->model = model->second;
    AddToMemory(context);
    if (merge_.segments_min > 0) unmerged_names_.emplace(context->tenant, context->id);
  }
  return OkStatus();
}

StatusOr<std::unique_ptr<Catalog>> Catalog::Load(Database* database, const SegmentReaper* reaper,
                                                 const MergeOptions& merge) {
  std::unique_ptr<Catalog> catalog(new Catalog(database, reaper, merge));
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
  for (const auto& [segment, chunks] : records.tokens) {
    if (catalog->IsLinked(segment)) continue;
    for (const auto& [chunk_index, tokens] : chunks)
      unlinked.Erase(TokensKey(segment, chunk_index));
  }
  for (const auto& [segment, indexes] : records.indexes) {
    if (catalog->IsLinked(segment)) continue;
    for (const IndexRecord& index : indexes) unlinked.Erase(IndexKey(segment, index.kind));
  }
  if (!unlinked.empty()) ALAYA_RETURN_IF_ERROR(database->WriteCatalog(unlinked));
  return catalog;
}

}  // namespace alaya
