#include "storage/context/index_page_writer.h"

#include <utility>

namespace alaya {

IndexPageWriter::IndexPageWriter(const Database* database, const Segment& segment,
                                 const StoredIndex& index, SegmentWriterOptions options)
    : database_(database),
      num_layers_(segment.model->model.num_layers),
      num_kv_heads_(segment.model->model.num_kv_heads),
      options_(std::move(options)),
      disk_reserve_(options_.directory, options_.disk_reserve_bytes, options_.quota),
      next_page_{.id = index.page(LayerIndex{0}, KvHeadIndex{0}, 0),
                 .model = segment.model->id,
                 .tenant_hash = TenantHash(segment.tenant),
                 .indexed_segment = segment.id} {
  finished_.block_counts.resize(size_t{num_layers_} * num_kv_heads_);
}

Status IndexPageWriter::CheckBlock(LayerIndex layer, KvHeadIndex head,
                                   std::span<const std::byte> block) const {
  const std::string where =
      "layer " + std::to_string(ToInt(layer)) + ", head " + std::to_string(ToInt(head));
  if (ToInt(layer) >= num_layers_ || ToInt(head) >= num_kv_heads_) {
    return InvalidArgument(where + ": the model has " + std::to_string(num_layers_) + " and " +
                           std::to_string(num_kv_heads_));
  }
  const PageId& last = next_page_.id;
  if (std::pair(ToInt(layer), ToInt(head)) < std::pair(last.layer, last.head)) {
    return InvalidArgument(where + ": comes after layer " + std::to_string(last.layer) + ", head " +
                           std::to_string(last.head));
  }
  if (block.empty() || block.size() > kPagePayloadBytesMax) {
    return InvalidArgument(where + ": a block has " + std::to_string(block.size()) +
                           " bytes, allowed is 1 to " + std::to_string(kPagePayloadBytesMax));
  }
  return OkStatus();
}

Status IndexPageWriter::AppendBlock(LayerIndex layer, KvHeadIndex head,
                                    std::span<const std::byte> block) {
  ALAYA_RETURN_IF_ERROR(CheckBlock(layer, head, block));
  ALAYA_RETURN_IF_ERROR(PrepareFile());
  uint32_t& block_count =
      finished_.block_counts[size_t{ToInt(layer)} * num_kv_heads_ + ToInt(head)];
  next_page_.id.layer = ToInt(layer);
  next_page_.id.head = ToInt(head);
  next_page_.id.page_index = block_count;
  page_bytes_.clear();
  EncodeIndexPage(next_page_, block, &page_bytes_);
  ALAYA_RETURN_IF_ERROR(
      file_->Add(EncodePageKey(next_page_.id), std::as_bytes(std::span(page_bytes_))));
  disk_reserve_.CountWritten(page_bytes_.size());
  ++block_count;
  return OkStatus();
}

Status IndexPageWriter::PrepareFile() {
  ALAYA_RETURN_IF_ERROR(disk_reserve_.Check());
  if (file_ != nullptr && file_->file_bytes() >= options_.file_bytes_target) {
    ALAYA_RETURN_IF_ERROR(FinishFile());
  }
  if (file_ != nullptr) return OkStatus();
  const std::string path =
      options_.directory + "/" + std::to_string(finished_.files.size()) + ".sst";
  ALAYA_ASSIGN_OR_RETURN(file_, PageFileWriter::Open(*database_, path));
  return OkStatus();
}

Status IndexPageWriter::FinishFile() {
  ALAYA_ASSIGN_OR_RETURN(const uint64_t bytes, file_->Finish());
  finished_.bytes += bytes;
  finished_.files.push_back(file_->path());
  file_.reset();
  return OkStatus();
}

StatusOr<IndexPageWriter::Finished> IndexPageWriter::Finish() {
  if (file_ != nullptr) ALAYA_RETURN_IF_ERROR(FinishFile());
  return std::move(finished_);
}

}  // namespace alaya
