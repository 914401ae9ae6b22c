// alayactl model: register, list.

#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/cli/terminal.h"
#include "client/tensor.h"

namespace alaya::client {
namespace {

struct RegisterArguments {
  pb::Model model;
  std::string dtype = "bf16";
};

Status RegisterModel(const CommandLine& line, const RegisterArguments& arguments) {
  pb::RegisterModelRequest request;
  *request.mutable_model() = arguments.model;
  ALAYA_ASSIGN_OR_RETURN(const DType dtype, ParseDType(arguments.dtype));
  request.mutable_model()->set_dtype(ToProto(dtype));
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.RegisterModel(request));
  line.Print(response, "model '" + arguments.model.name() + "' " +
                           (response.created() ? "registered\n" : "was registered before\n"));
  return OkStatus();
}

Status ListModels(const CommandLine& line) {
  ALAYA_ASSIGN_OR_RETURN(const Client client, line.Connect());
  ALAYA_ASSIGN_OR_RETURN(const auto response, client.ListModels());
  Table table(
      {"MODEL", ">LAYERS", ">QUERY HEADS", ">KV HEADS", ">HEAD DIM", "DTYPE", ">KV PER TOKEN"});
  for (const pb::Model& model : response.models()) {
    const StatusOr<DType> dtype = FromProto(model.dtype());
    const size_t element_bytes = dtype.ok() ? ElementBytes(*dtype) : 0;
    table.AddRow({model.name(), std::to_string(model.num_layers()),
                  std::to_string(model.num_query_heads()), std::to_string(model.num_kv_heads()),
                  std::to_string(model.head_dim()),
                  dtype.ok() ? std::string(Name(*dtype)) : "unknown",
                  BytesText(uint64_t{2} * model.num_layers() * model.num_kv_heads() *
                            model.head_dim() * element_bytes)});
  }
  line.Print(response, table.Text());
  return OkStatus();
}

// An option that sets a number of the model.
void AddSizeOption(CLI::App& app, const char* name, const char* description,
                   const std::function<void(uint32_t)>& set) {
  app.add_option_function<uint32_t>(name, set, description)->required();
}

}  // namespace

void AddModelCommands(CLI::App& app, CommandLine& line) {
  CLI::App& model_app = *app.add_subcommand("model", "Shapes of LLMs");
  model_app.require_subcommand(1);

  CLI::App& register_app = *model_app.add_subcommand("register", "Make a model known");
  const auto arguments = std::make_shared<RegisterArguments>();
  pb::Model& model = arguments->model;
  register_app
      .add_option_function<std::string>(
          "name", [&model](const std::string& name) { model.set_name(name); },
          "For example meta-llama/Llama-3.1-8B")
      ->required();
  AddSizeOption(register_app, "--layers", "Layers with attention",
                [&model](uint32_t count) { model.set_num_layers(count); });
  AddSizeOption(register_app, "--query-heads", "Query heads of a layer",
                [&model](uint32_t count) { model.set_num_query_heads(count); });
  AddSizeOption(register_app, "--kv-heads", "KV heads of a layer",
                [&model](uint32_t count) { model.set_num_kv_heads(count); });
  AddSizeOption(register_app, "--head-dim", "Elements of one head's vector",
                [&model](uint32_t count) { model.set_head_dim(count); });
  register_app.add_option("--dtype", arguments->dtype, "Of keys and values: f32, f16 or bf16")
      ->capture_default_str();
  register_app.footer(
      "Example:\n  alayactl model register llama --layers 32 --query-heads 32 --kv-heads 8 "
      "--head-dim 128 --dtype bf16");
  register_app.callback([&line, arguments] {
    line.action = [&line, arguments] { return RegisterModel(line, *arguments); };
  });

  CLI::App& list_app = *model_app.add_subcommand("list", "List the registered models");
  list_app.footer("Example:\n  alayactl model list");
  list_app.callback([&line] { line.action = [&line] { return ListModels(line); }; });
}

}  // namespace alaya::client
