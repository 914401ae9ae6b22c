// alayactl context import: a file of keys and values becomes a stored context. The file
// is streamed, so it may be larger than memory.

#include <algorithm>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/cli/terminal.h"
#include "client/files/context_file.h"
#include "client/tensor.h"

namespace alaya::client {
namespace {

constexpr size_t kPieceBytes = size_t{4} << 20;  // read from the file at a time

struct ImportArguments {
  std::string file;
  std::string model;
  std::string context_id;
  std::vector<std::string> labels;
  std::string ttl;
  bool pin = false;
  bool convert = false;
};

std::string ShapeOf(const ContextFile& file) {
  return std::to_string(file.num_layers()) + " layers, " + std::to_string(file.num_kv_heads()) +
         " kv heads, head_dim " + std::to_string(file.head_dim()) + ", " +
         std::string(Name(file.dtype()));
}

Status CheckShape(const ContextFile& file, const pb::Model& model, DType dtype, bool convert) {
  if (file.num_layers() == model.num_layers() && file.num_kv_heads() == model.num_kv_heads() &&
      file.head_dim() == model.head_dim() && (file.dtype() == dtype || convert)) {
    return OkStatus();
  }
  return InvalidArgument("the file holds " + ShapeOf(file) + "; model '" + model.name() + "' has " +
                         std::to_string(model.num_layers()) + " layers, " +
                         std::to_string(model.num_kv_heads()) + " kv heads, head_dim " +
                         std::to_string(model.head_dim()) + ", " + std::string(Name(dtype)) +
                         (file.dtype() == dtype ? "" : "; --convert rounds to the model's type"));
}

// The next tokens of one array, in the model's type.
class PieceReader {
 public:
  PieceReader(ArrayReader* reader, TensorView shape, DType dtype)
      : reader_(reader), shape_(shape), dtype_(dtype) {}

  // The view is valid until the next call.
  StatusOr<TensorView> Read(size_t token_count) {
    TensorView view = shape_;
    view.tokens = token_count;
    raw_.resize(token_count * shape_.token_bytes());
    ALAYA_RETURN_IF_ERROR(reader_->Read(raw_));
    view.data = raw_;
    if (shape_.dtype != dtype_) {
      converted_ = EncodeElements(DecodeElements(raw_, shape_.dtype), dtype_);
      view.dtype = dtype_;
      view.data = AsBytes(converted_);
    }
    return view;
  }

 private:
  ArrayReader* reader_;
  TensorView shape_;  // of the file; tokens and data unset
  DType dtype_;
  std::vector<std::byte> raw_;
  std::string converted_;
};

// Sends tokens [token_begin, T) of one layer.
Status ImportLayer(const ContextFile& file, uint32_t layer, uint64_t token_begin, DType dtype,
                   ContextImporter& importer) {
  ALAYA_ASSIGN_OR_RETURN(const LayerArrays arrays, file.OpenLayer(layer));
  const TensorView shape{file.dtype(), 0, file.num_kv_heads(), file.head_dim(), {}};
  ALAYA_RETURN_IF_ERROR(arrays.keys->Skip(token_begin * shape.token_bytes()));
  ALAYA_RETURN_IF_ERROR(arrays.values->Skip(token_begin * shape.token_bytes()));
  PieceReader keys(arrays.keys.get(), shape, dtype);
  PieceReader values(arrays.values.get(), shape, dtype);
  std::optional<PieceReader> queries;
  uint64_t query_count = 0;
  if (arrays.queries.has_value()) {
    const LayerQueries& info = *arrays.queries;
    query_count = info.count;
    queries.emplace(info.reader.get(),
                    TensorView{info.dtype, 0, info.num_query_heads, file.head_dim(), {}},
                    info.dtype);
  }
  const uint64_t token_count = file.tokens().size();
  const uint64_t piece_tokens = std::max<uint64_t>(kPieceBytes / shape.token_bytes(), 1);
  uint64_t queries_sent = 0;
  for (uint64_t begin = token_begin; begin < token_count; begin += piece_tokens) {
    const uint64_t end = std::min(begin + piece_tokens, token_count);
    ContextChunk chunk;
    chunk.layer = layer;
    chunk.token_begin = begin;
    ALAYA_ASSIGN_OR_RETURN(chunk.key, keys.Read(end - begin));
    ALAYA_ASSIGN_OR_RETURN(chunk.value, values.Read(end - begin));
    // Queries keep pace with the tokens, so that no piece carries all of them.
    const uint64_t queries_due = query_count * (end - token_begin) / (token_count - token_begin);
    if (queries_due > queries_sent) {
      ALAYA_ASSIGN_OR_RETURN(chunk.query, queries->Read(queries_due - queries_sent));
      queries_sent = queries_due;
    }
    ALAYA_RETURN_IF_ERROR(importer.AppendChunk(chunk));
  }
  return OkStatus();
}

StatusOr<pb::ImportContextRequest::Header> MakeHeader(const ImportArguments& arguments,
                                                      const ContextFile& file) {
  pb::ImportContextRequest::Header header;
  header.set_model(arguments.model);
  header.mutable_tokens()->Assign(file.tokens().begin(), file.tokens().end());
  if (!arguments.context_id.empty()) header.set_context_id(arguments.context_id);
  ALAYA_ASSIGN_OR_RETURN(const auto labels, ParseLabels(arguments.labels));
  header.mutable_labels()->insert(labels.begin(), labels.end());
  if (!arguments.ttl.empty()) {
    ALAYA_ASSIGN_OR_RETURN(const auto ttl, ParseDuration(arguments.ttl));
    *header.mutable_ttl() = ToProto(ttl);
  }
  return header;
}

// Tokens that the server already stores need not be sent.
StatusOr<uint64_t> StoredTokens(const Client& client,
                                const pb::ImportContextRequest::Header& header) {
  pb::MatchContextRequest request;
  request.set_model(header.model());
  *request.mutable_tokens() = header.tokens();
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.MatchContext(request));
  return response.matched_tokens();
}

Status Pin(const Client& client, const std::string& context_id) {
  pb::UpdateContextRequest request;
  request.set_context_id(context_id);
  request.set_pinned(true);
  return client.UpdateContext(request).status();
}

Status ImportContext(const CommandLine& line, const ImportArguments& arguments) {
  ALAYA_ASSIGN_OR_RETURN(const ContextFile file, ContextFile::Open(arguments.file));
  ALAYA_ASSIGN_OR_RETURN(const auto header, MakeHeader(arguments, file));
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  ALAYA_ASSIGN_OR_RETURN(const pb::Model model, FindModel(client, arguments.model));
  ALAYA_ASSIGN_OR_RETURN(const DType dtype, FromProto(model.dtype()));
  ALAYA_RETURN_IF_ERROR(CheckShape(file, model, dtype, arguments.convert));
  ALAYA_ASSIGN_OR_RETURN(const uint64_t stored_tokens, StoredTokens(client, header));

  pb::ImportContextResponse response;
  const auto start = std::chrono::steady_clock::now();
  {
    const uint64_t token_bytes = uint64_t{2} * file.num_layers() * file.num_kv_heads() *
                                 file.head_dim() * ElementBytes(dtype);
    ProgressBar progress(line.err, line.err_is_terminal && !line.json, "importing",
                         (file.tokens().size() - stored_tokens) * token_bytes);
    ContextImporterOptions options;
    options.progress = [&progress](uint64_t sent_bytes) { progress.Update(sent_bytes); };
    ALAYA_ASSIGN_OR_RETURN(ContextImporter importer, client.ImportContext(header, options));
    for (uint32_t layer = 0; layer < file.num_layers(); ++layer) {
      ALAYA_RETURN_IF_ERROR(ImportLayer(file, layer, stored_tokens, dtype, importer));
    }
    ALAYA_ASSIGN_OR_RETURN(response, importer.Commit());
  }
  if (arguments.pin) ALAYA_RETURN_IF_ERROR(Pin(client, response.context_id()));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  line.Print(response, "context '" + response.context_id() +
                           "' stored: " + CountText(file.tokens().size()) + " tokens, " +
                           CountText(response.reused_tokens()) + " of them reused, " +
                           BytesText(response.stored_bytes()) + " written in " +
                           SecondsText(elapsed.count()) + "\n");
  return OkStatus();
}

constexpr char kFooter[] =
    "The file's arrays, for L layers, T tokens, Hkv KV heads, head_dim D:\n"
    "  .npz          key_0 .. key_<L-1>, value_0 .. value_<L-1>, tokens\n"
    "  .safetensors  layers.0.key .. , layers.0.value .. , tokens\n"
    "  keys, values  [T,Hkv,D] in f32, f16 or bf16, after RoPE; tokens [T], any integers\n"
    "  optional      query_<i> or layers.<i>.query [T',Hq,D]: sampled queries\n"
    "NumPy has no bf16: uint16 arrays are taken for bf16 bits.\n"
    "Tokens that the server stores already, as a prefix, are not sent again.\n"
    "\n"
    "Examples:\n"
    "  alayactl context import book.safetensors --model llama --id book --ttl 24h\n"
    "  alayactl context import book_f32.npz --model llama --convert --label lang=en --pin";

}  // namespace

void AddContextImportCommand(CLI::App& context_app, CommandLine& line) {
  CLI::App& app = *context_app.add_subcommand("import", "Store a context from a file");
  const auto arguments = std::make_shared<ImportArguments>();
  app.add_option("file", arguments->file, ".npz or .safetensors")->required();
  app.add_option("--model", arguments->model, "Name of a registered model")->required();
  app.add_option("--id", arguments->context_id, "context_id; default: the server makes one");
  app.add_option("--label", arguments->labels, "name=value; repeatable")->allow_extra_args(false);
  app.add_option("--ttl", arguments->ttl, "Expire after, for example 1h30m");
  app.add_flag("--pin", arguments->pin, "Never expire");
  app.add_flag("--convert", arguments->convert, "Round keys and values to the model's type");
  app.footer(kFooter);
  app.callback([&line, arguments] {
    line.action = [&line, arguments] { return ImportContext(line, *arguments); };
  });
}

}  // namespace alaya::client
