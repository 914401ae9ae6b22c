#include "tests/proto/wire_contract.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <iterator>
#include <map>
#include <string_view>

#include "alaya/v1/admin_service.pb.h"
#include "alaya/v1/attention.pb.h"
#include "alaya/v1/context_service.pb.h"
#include "alaya/v1/model.pb.h"
#include "alaya/v1/session_service.pb.h"
#include "alaya/v1/tensor.pb.h"
#include "storage/types/check.h"

namespace alaya {
namespace {

namespace pb = google::protobuf;

// Keeps the generated code of every file in the program.
std::vector<const pb::FileDescriptor*> LinkedFiles() {
  return {v1::RegisterModelRequest::descriptor()->file(),
          v1::FullTarget::descriptor()->file(),
          v1::Context::descriptor()->file(),
          v1::Model::descriptor()->file(),
          v1::Session::descriptor()->file(),
          v1::Tensor::descriptor()->file()};
}

std::string TypeName(const pb::FieldDescriptor& field) {
  if (field.is_map()) {
    const pb::Descriptor& entry = *field.message_type();
    return fmt::format("map<{}, {}>", TypeName(*entry.map_key()), TypeName(*entry.map_value()));
  }
  if (field.message_type() != nullptr) return field.message_type()->full_name();
  if (field.enum_type() != nullptr) return field.enum_type()->full_name();
  return field.type_name();
}

std::string Label(const pb::FieldDescriptor& field) {
  if (field.is_map()) return "map";
  if (field.is_repeated()) return "repeated";
  if (const pb::OneofDescriptor* oneof = field.real_containing_oneof(); oneof != nullptr) {
    return "oneof " + oneof->name();
  }
  return field.has_presence() ? "optional" : "singular";
}

void Describe(const pb::EnumDescriptor& type, std::vector<std::string>& lines) {
  for (int i = 0; i < type.value_count(); ++i) {
    lines.push_back(fmt::format("enum {}.{} = {}", type.full_name(), type.value(i)->name(),
                                type.value(i)->number()));
  }
}

void Describe(const pb::Descriptor& message, std::vector<std::string>& lines) {
  if (message.options().map_entry()) return;
  lines.push_back(fmt::format("message {}", message.full_name()));
  for (int i = 0; i < message.field_count(); ++i) {
    const pb::FieldDescriptor& field = *message.field(i);
    lines.push_back(fmt::format("field {}.{} = {} {} {}", message.full_name(), field.name(),
                                field.number(), TypeName(field), Label(field)));
  }
  for (int i = 0; i < message.nested_type_count(); ++i) Describe(*message.nested_type(i), lines);
  for (int i = 0; i < message.enum_type_count(); ++i) Describe(*message.enum_type(i), lines);
}

void Describe(const pb::ServiceDescriptor& service, std::vector<std::string>& lines) {
  for (int i = 0; i < service.method_count(); ++i) {
    const pb::MethodDescriptor& method = *service.method(i);
    const auto level = method.options().idempotency_level();
    lines.push_back(
        fmt::format("method {}({}{}) returns ({}{}){}", method.full_name(),
                    method.client_streaming() ? "stream " : "", method.input_type()->full_name(),
                    method.server_streaming() ? "stream " : "", method.output_type()->full_name(),
                    level == pb::MethodOptions::IDEMPOTENCY_UNKNOWN
                        ? ""
                        : " " + pb::MethodOptions::IdempotencyLevel_Name(level)));
  }
}

bool IsSnakeCase(std::string_view name) {
  return !name.empty() && std::islower(static_cast<unsigned char>(name.front())) != 0 &&
         name.back() != '_' && name.find("__") == std::string_view::npos &&
         std::ranges::all_of(name, [](unsigned char c) {
           return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '_';
         });
}

bool IsPascalCase(std::string_view name) {
  return !name.empty() && std::isupper(static_cast<unsigned char>(name.front())) != 0 &&
         std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) != 0; });
}

// TargetKind -> TARGET_KIND; a run of capitals is one word, so DType is D_TYPE or DTYPE.
std::string UpperSnakeCase(std::string_view name) {
  std::string result;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool starts_word = std::isupper(static_cast<unsigned char>(name[i])) != 0 && i > 0 &&
                             std::islower(static_cast<unsigned char>(name[i - 1])) != 0;
    if (starts_word) result += '_';
    result += static_cast<char>(std::toupper(static_cast<unsigned char>(name[i])));
  }
  return result;
}

class Linter {
 public:
  void Visit(const pb::FileDescriptor& file) {
    std::string folder = std::filesystem::path(file.name()).parent_path();
    std::ranges::replace(folder, '/', '.');
    Expect(file.package() == folder, file.name(), "package must be its folder, " + folder);
    const std::string version = folder.substr(folder.rfind('.') + 1);
    Expect(version.size() > 1 && version[0] == 'v' && std::isdigit(version[1]) != 0, file.name(),
           "package must end in a version");
    Expect(IsSnakeCase(std::filesystem::path(file.name()).stem().string()), file.name(),
           "file name must be lower_snake_case");
    for (int i = 0; i < file.message_type_count(); ++i) Visit(*file.message_type(i));
    for (int i = 0; i < file.enum_type_count(); ++i) Visit(*file.enum_type(i));
    for (int i = 0; i < file.service_count(); ++i) Visit(*file.service(i));
  }

  std::vector<std::string> offences() const { return offences_; }

 private:
  void Visit(const pb::Descriptor& message) {
    if (message.options().map_entry()) return;
    Expect(IsPascalCase(message.name()), message.full_name(), "message must be PascalCase");
    for (int i = 0; i < message.field_count(); ++i) {
      Expect(IsSnakeCase(message.field(i)->name()), message.field(i)->full_name(),
             "field must be lower_snake_case");
    }
    for (int i = 0; i < message.real_oneof_decl_count(); ++i) {
      Expect(IsSnakeCase(message.oneof_decl(i)->name()), message.oneof_decl(i)->full_name(),
             "oneof must be lower_snake_case");
    }
    for (int i = 0; i < message.nested_type_count(); ++i) Visit(*message.nested_type(i));
    for (int i = 0; i < message.enum_type_count(); ++i) Visit(*message.enum_type(i));
  }

  void Visit(const pb::EnumDescriptor& type) {
    const std::string prefix = UpperSnakeCase(type.name()) + "_";
    for (int i = 0; i < type.value_count(); ++i) {
      const pb::EnumValueDescriptor& value = *type.value(i);
      Expect(value.name().starts_with(prefix), value.full_name(),
             "value must start with " + prefix);
      Expect((value.number() == 0) == (value.name() == prefix + "UNSPECIFIED"), value.full_name(),
             "zero, and only zero, must be " + prefix + "UNSPECIFIED");
    }
  }

  void Visit(const pb::ServiceDescriptor& service) {
    Expect(IsPascalCase(service.name()) && service.name().ends_with("Service"), service.full_name(),
           "service must be PascalCase and end in Service");
    for (int i = 0; i < service.method_count(); ++i) {
      const pb::MethodDescriptor& method = *service.method(i);
      Expect(IsPascalCase(method.name()), method.full_name(), "method must be PascalCase");
      for (const auto& [type, suffix] : {std::pair(method.input_type(), "Request"),
                                         std::pair(method.output_type(), "Response")}) {
        Expect(type->name() == method.name() + suffix, method.full_name(),
               "must use a message of its own, " + method.name() + suffix);
        Expect(++use_count_[type->full_name()] == 1, method.full_name(),
               "shares " + type->full_name() + " with another method");
      }
    }
  }

  void Expect(bool kept, std::string_view where, std::string_view rule) {
    if (!kept) offences_.push_back(fmt::format("{}: {}", where, rule));
  }

  std::map<std::string, int> use_count_;
  std::vector<std::string> offences_;
};

}  // namespace

std::vector<const pb::FileDescriptor*> ContractFiles() {
  static const std::vector<const pb::FileDescriptor*> kLinked = LinkedFiles();
  std::map<std::string, const pb::FileDescriptor*> files;
  for (const auto& entry : std::filesystem::directory_iterator(ALAYA_PROTO_FOLDER "/alaya/v1")) {
    if (entry.path().extension() != ".proto") continue;
    const std::string name = "alaya/v1/" + entry.path().filename().string();
    files[name] = pb::DescriptorPool::generated_pool()->FindFileByName(name);
    if (files[name] == nullptr) fmt::print(stderr, "{} is not in LinkedFiles()\n", name);
    ALAYA_CHECK(files[name] != nullptr);
  }
  std::vector<const pb::FileDescriptor*> result;
  for (const auto& [name, file] : files) result.push_back(file);
  return result;
}

std::vector<std::string> DescribeContract(std::span<const pb::FileDescriptor* const> files) {
  std::vector<std::string> lines;
  for (const pb::FileDescriptor* file : files) {
    for (int i = 0; i < file->message_type_count(); ++i) Describe(*file->message_type(i), lines);
    for (int i = 0; i < file->enum_type_count(); ++i) Describe(*file->enum_type(i), lines);
    for (int i = 0; i < file->service_count(); ++i) Describe(*file->service(i), lines);
  }
  std::ranges::sort(lines);
  return lines;
}

ContractChange CompareContracts(std::span<const std::string> old_lines,
                                std::span<const std::string> new_lines) {
  ContractChange change;
  std::ranges::set_difference(old_lines, new_lines, std::back_inserter(change.removed));
  std::ranges::set_difference(new_lines, old_lines, std::back_inserter(change.added));
  return change;
}

std::vector<std::string> LintContract(std::span<const pb::FileDescriptor* const> files) {
  Linter linter;
  for (const pb::FileDescriptor* file : files) linter.Visit(*file);
  return linter.offences();
}

}  // namespace alaya
