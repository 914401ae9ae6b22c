#include "storage/context/segment_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "storage/types/check.h"

namespace alaya {
SegmentWriter::SegmentWriter(const Database* database, const Segment& segment,
                             SegmentWriterOptions options)
    : database_(database),
      segment_(segment.id),
      model_(*segment.model),
      tenant_hash_(TenantHash(segment.tenant)),
      token_count_(segment.token_count),
      options_(std::move(options)),
      page_tokens_(PageTokens(model_.model)),
      row_bytes_(model_.model.row_bytes()),
      streams_(size_t{2} * model_.model.num_layers),
      disk_reserve_(options_.directory, options_.disk_reserve_bytes, options_.quota) {
  const uint32_t num_layers = model_.model.num_layers;
  for (uint32_t layer = 0; layer < num_layers; ++layer) {
    Stream& kv = streams_[layer];
    kv.number = layer;
    kv.layer = layer;
    kv.kinds = {PageKind::kKey, PageKind::kValue};
    kv.head_count = model_.model.num_kv_heads;
    Stream& queries = streams_[num_layers + layer];
    queries.number = num_layers + layer;
    queries.layer = layer;
    queries.kinds = {PageKind::kQuery};
    queries.head_count = model_.model.num_query_heads;
  }
}

SegmentWriter::~SegmentWriter() = default;

Status SegmentWriter::CheckLayer(LayerIndex layer) const {
  if (ToInt(layer) < model_.model.num_layers) return OkStatus();
  return InvalidArgument("layer " + std::to_string(ToInt(layer)) + ": model '" + model_.model.name +
                         "' has " + std::to_string(model_.model.num_layers));
}

Status SegmentWriter::Append(LayerIndex layer, std::span<const std::byte> keys,
                             std::span<const std::byte> values) {
  ALAYA_RETURN_IF_ERROR(CheckLayer(layer));
  Stream& stream = streams_[ToInt(layer)];
  const size_t token_bytes = stream.head_count * row_bytes_;
  if (keys.size() != values.size() || keys.size() % token_bytes != 0) {
    return InvalidArgument("keys of " + std::to_string(keys.size()) + " bytes and values of " +
                           std::to_string(values.size()) + " bytes: one token of model '" +
                           model_.model.name + "' has " + std::to_string(token_bytes) + " of each");
  }
  const size_t count = keys.size() / token_bytes;
  if (count > token_count_ - stream.row_count_total) {
    return InvalidArgument("layer " + std::to_string(stream.layer) + " has " +
                           std::to_string(stream.row_count_total) + " of " +
                           std::to_string(token_count_) + " tokens, " + std::to_string(count) +
                           " more are too many");
  }
  const std::array parts = {keys, values};
  ALAYA_RETURN_IF_ERROR(AppendRows(&stream, parts, count));
  if (stream.row_count_total == token_count_ && count > 0) return CloseStream(&stream);
  return OkStatus();
}

Status SegmentWriter::AppendQueries(LayerIndex layer, std::span<const std::byte> queries) {
  ALAYA_RETURN_IF_ERROR(CheckLayer(layer));
  Stream& stream = streams_[model_.model.num_layers + ToInt(layer)];
  const size_t query_bytes = stream.head_count * row_bytes_;
  if (queries.size() % query_bytes != 0) {
    return InvalidArgument("queries of " + std::to_string(queries.size()) +
                           " bytes: one query of all heads of model '" + model_.model.name +
                           "' has " + std::to_string(query_bytes));
  }
  const std::array parts = {queries};
  return AppendRows(&stream, parts, queries.size() / query_bytes);
}

uint64_t SegmentWriter::appended_tokens(LayerIndex layer) const {
  return ToInt(layer) < model_.model.num_layers ? streams_[ToInt(layer)].row_count_total : 0;
}

// `parts` holds row_count rows of all heads for each kind of the stream.
Status SegmentWriter::AppendRows(Stream* stream, std::span<const std::span<const std::byte>> parts,
                                 size_t row_count) {
  const size_t source_row_bytes = stream->head_count * row_bytes_;
  for (size_t done = 0; done < row_count;) {
    if (stream->pages == nullptr) {
      const size_t slots = stream->head_count * stream->kinds.size();
      stream->pages = std::make_unique_for_overwrite<std::byte[]>(slots * PageSlotBytes());
    }
    const size_t count = std::min(row_count - done, page_tokens_ - stream->row_count_buffered);
    for (size_t kind_index = 0; kind_index < parts.size(); ++kind_index) {
      GatherRows(stream, kind_index, parts[kind_index].data() + done * source_row_bytes, count);
    }
    stream->row_count_buffered += static_cast<uint32_t>(count);
    stream->row_count_total += count;
    done += count;
    if (stream->row_count_buffered == page_tokens_) ALAYA_RETURN_IF_ERROR(WritePages(stream));
  }
  return OkStatus();
}

// From [token][head] to a page per head: reads in order, writes one stream per head.
void SegmentWriter::GatherRows(Stream* stream, size_t kind_index, const std::byte* rows,
                               size_t row_count) {
  const size_t head_stride = stream->kinds.size() * PageSlotBytes();
  std::byte* first = stream->pages.get() + kind_index * PageSlotBytes() + kPageHeaderBytes +
                     stream->row_count_buffered * row_bytes_;
  for (size_t row = 0; row < row_count; ++row) {
    std::byte* target = first + row * row_bytes_;
    for (size_t head = 0; head < stream->head_count; ++head) {
      std::memcpy(target, rows, row_bytes_);
      target += head_stride;
      rows += row_bytes_;
    }
  }
}

Status SegmentWriter::WritePages(Stream* stream) {
  ALAYA_RETURN_IF_ERROR(PrepareFile(stream));
  PageInfo info;
  info.id.segment = segment_;
  info.id.layer = stream->layer;
  info.id.page_index = static_cast<uint32_t>((stream->row_count_total - 1) / page_tokens_);
  info.model = model_.id;
  info.tenant_hash = tenant_hash_;
  info.dtype = model_.model.dtype;
  info.row_count = stream->row_count_buffered;
  info.head_dim = model_.model.head_dim;
  const size_t payload_bytes = info.payload_bytes();
  std::byte* slot = stream->pages.get();
  for (info.id.head = 0; info.id.head < stream->head_count; ++info.id.head) {
    for (const PageKind kind : stream->kinds) {
      info.id.kind = kind;
      const std::span<std::byte> page(slot, kPageHeaderBytes + payload_bytes);
      EncodePageHeader(info, page.subspan(kPageHeaderBytes), page.first<kPageHeaderBytes>());
      ALAYA_RETURN_IF_ERROR(stream->file->Add(EncodePageKey(info.id), page));
      if (options_.keep && kind != PageKind::kQuery) {
        options_.keep(info.id, page.subspan(kPageHeaderBytes));
      }
      slot += PageSlotBytes();
    }
  }
  disk_reserve_.CountWritten(stream->head_count * stream->kinds.size() * payload_bytes);
  stream->row_count_buffered = 0;
  return OkStatus();
}

// Gives the stream a file with room for more.
Status SegmentWriter::PrepareFile(Stream* stream) {
  ALAYA_RETURN_IF_ERROR(disk_reserve_.Check());
  if (stream->file != nullptr && stream->file->file_bytes() >= options_.file_bytes_target) {
    ALAYA_RETURN_IF_ERROR(FinishFile(std::move(stream->file)));
  }
  if (stream->file == nullptr) stream->file = TakeIdleFile(stream->number);
  if (stream->file == nullptr) {
    const std::string path = options_.directory + "/" + std::to_string(file_count_++) + ".sst";
    ALAYA_ASSIGN_OR_RETURN(stream->file, PageFileWriter::Open(*database_, path));
  }
  return OkStatus();
}

// A file whose keys all lie before the stream's, with nothing between them in another
// file, now or later: ranges of files must stay apart.
std::unique_ptr<PageFileWriter> SegmentWriter::TakeIdleFile(size_t stream_number) {
  for (size_t before = stream_number; before-- > 0;) {
    const auto idle = idle_files_.find(before);
    if (idle != idle_files_.end()) {
      if (idle->second->file_bytes() >= options_.file_bytes_target) return nullptr;
      std::unique_ptr<PageFileWriter> file = std::move(idle->second);
      idle_files_.erase(idle);
      return file;
    }
    // Once all is appended, streams without pages will stay so.
    if (!all_appended_ || streams_[before].row_count_total > 0) return nullptr;
  }
  return nullptr;
}

Status SegmentWriter::FinishFile(std::unique_ptr<PageFileWriter> file) {
  ALAYA_ASSIGN_OR_RETURN(const uint64_t bytes, file->Finish());
  finished_.bytes += bytes;
  finished_.files.push_back(file->path());
  return OkStatus();
}

// Writes what is buffered and gives the stream's memory back.
Status SegmentWriter::CloseStream(Stream* stream) {
  if (stream->row_count_buffered > 0) ALAYA_RETURN_IF_ERROR(WritePages(stream));
  stream->pages.reset();
  if (stream->file != nullptr) idle_files_[stream->number] = std::move(stream->file);
  return OkStatus();
}

StatusOr<SegmentWriter::Finished> SegmentWriter::Finish() {
  for (uint32_t layer = 0; layer < model_.model.num_layers; ++layer) {
    if (streams_[layer].row_count_total == token_count_) continue;
    return FailedPrecondition("layer " + std::to_string(layer) + " has " +
                              std::to_string(streams_[layer].row_count_total) + " of " +
                              std::to_string(token_count_) + " tokens");
  }
  all_appended_ = true;
  for (Stream& stream : streams_) ALAYA_RETURN_IF_ERROR(CloseStream(&stream));
  for (auto& [last_stream, file] : idle_files_) {
    ALAYA_RETURN_IF_ERROR(FinishFile(std::move(file)));
  }
  idle_files_.clear();
  for (uint32_t layer = 0; layer < model_.model.num_layers; ++layer) {
    const Stream& queries = streams_[model_.model.num_layers + layer];
    finished_.query_counts.push_back(static_cast<uint32_t>(queries.row_count_total));
  }
  return std::move(finished_);
}

}  // namespace alaya
