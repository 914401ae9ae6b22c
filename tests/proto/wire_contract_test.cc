// Holds the wire contract against its snapshot, and proves that every kind of change
// and offence is noticed.
//
// `wire_contract_test --update` writes the snapshot anew.

#include "tests/proto/wire_contract.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string_view>

namespace alaya {
namespace {

namespace pb = google::protobuf;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr const char* kSnapshotFile = ALAYA_SNAPSHOT_FILE;

std::vector<std::string> ReadSnapshot() {
  std::ifstream file(kSnapshotFile);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

TEST(WireContractTest, IsWhatTheSnapshotSays) {
  const ContractChange change = CompareContracts(ReadSnapshot(), DescribeContract(ContractFiles()));

  EXPECT_THAT(change.removed, IsEmpty()) << "These changes break deployed clients:\n"
                                         << fmt::format("{}\n", fmt::join(change.removed, "\n"))
                                         << "Add a field or method instead and keep the old one.";
  EXPECT_THAT(change.added, IsEmpty())
      << "The contract has grown. If that is meant, take it into the snapshot with\n"
      << "  proto.wire_contract_test --update\nand commit " << kSnapshotFile;
}

TEST(WireContractTest, KeepsTheLintRules) { EXPECT_THAT(LintContract(ContractFiles()), IsEmpty()); }

// Small contracts, written as FileDescriptorProto text.
class ParsedContract {
 public:
  explicit ParsedContract(const std::string& text) {
    pb::FileDescriptorProto proto;
    EXPECT_TRUE(pb::TextFormat::ParseFromString(text, &proto)) << text;
    file_ = pool_.BuildFile(proto);
    EXPECT_NE(file_, nullptr) << text;
  }

  std::vector<std::string> Describe() const { return DescribeContract({&file_, 1}); }
  std::vector<std::string> Lint() const { return LintContract({&file_, 1}); }

 private:
  pb::DescriptorPool pool_;
  const pb::FileDescriptor* file_ = nullptr;
};

constexpr const char* kCart = R"(
syntax: "proto3"
name: "shop/v1/cart.proto"
package: "shop.v1"
service {
  name: "CartService"
  method { name: "Add" input_type: "AddRequest" output_type: "AddResponse" client_streaming: true }
}
enum_type {
  name: "Color"
  value { name: "COLOR_UNSPECIFIED" number: 0 }
  value { name: "COLOR_RED" number: 1 }
}
message_type {
  name: "AddRequest"
  field { name: "item" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "colors" number: 3 label: LABEL_REPEATED type: TYPE_ENUM type_name: "Color" }
  field { name: "euro" number: 4 label: LABEL_OPTIONAL type: TYPE_DOUBLE oneof_index: 0 }
  field { name: "count" number: 2 label: LABEL_OPTIONAL type: TYPE_UINT32 oneof_index: 1
          proto3_optional: true }
  field { name: "labels" number: 6 label: LABEL_REPEATED type: TYPE_MESSAGE
          type_name: "LabelsEntry" }
  nested_type {
    name: "LabelsEntry"
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
    options { map_entry: true }
  }
  oneof_decl { name: "price" }
  oneof_decl { name: "_count" }
}
message_type { name: "AddResponse" }
)";

TEST(WireContractTest, ALineSaysAllThatAClientDependsOn) {
  EXPECT_THAT(
      ParsedContract(kCart).Describe(),
      ElementsAre("enum shop.v1.Color.COLOR_RED = 1", "enum shop.v1.Color.COLOR_UNSPECIFIED = 0",
                  "field shop.v1.AddRequest.colors = 3 shop.v1.Color repeated",
                  "field shop.v1.AddRequest.count = 2 uint32 optional",
                  "field shop.v1.AddRequest.euro = 4 double oneof price",
                  "field shop.v1.AddRequest.item = 1 string singular",
                  "field shop.v1.AddRequest.labels = 6 map<string, string> map",
                  "message shop.v1.AddRequest", "message shop.v1.AddResponse",
                  "method shop.v1.CartService.Add(stream shop.v1.AddRequest) returns "
                  "(shop.v1.AddResponse)"));
}

TEST(WireContractTest, ALineSaysWhetherAMethodMayRunTwice) {
  std::string cart = kCart;
  cart.replace(cart.find("client_streaming: true"), std::string("client_streaming: true").size(),
               "options { idempotency_level: IDEMPOTENT }");

  EXPECT_THAT(ParsedContract(cart).Describe(),
              Contains("method shop.v1.CartService.Add(shop.v1.AddRequest) returns "
                       "(shop.v1.AddResponse) IDEMPOTENT"));
}

struct Edit {
  const char* name;
  std::string from;
  std::string to;
};

std::string Edited(const Edit& edit) {
  std::string text = kCart;
  text.replace(text.find(edit.from), edit.from.size(), edit.to);
  return text;
}

class BreakingChangeTest : public testing::TestWithParam<Edit> {};

TEST_P(BreakingChangeTest, RemovesALine) {
  const auto before = ParsedContract(kCart).Describe();

  const auto after = ParsedContract(Edited(GetParam())).Describe();

  EXPECT_FALSE(CompareContracts(before, after).removed.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Edits, BreakingChangeTest,
    testing::Values(
        Edit{"FieldRemoved",
             "field { name: \"item\" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }", ""},
        Edit{"FieldRenumbered", "number: 1 label", "number: 9 label"},
        Edit{"FieldRetyped", "TYPE_STRING", "TYPE_BYTES"},
        Edit{"FieldRenamed", "\"item\"", "\"thing\""},
        Edit{"RepeatedDropped", "LABEL_REPEATED type: TYPE_ENUM", "LABEL_OPTIONAL type: TYPE_ENUM"},
        Edit{"OneofRenamed", "\"price\"", "\"cost\""},
        Edit{"EnumValueRemoved", "value { name: \"COLOR_RED\" number: 1 }", ""},
        Edit{"EnumValueRenumbered", "\"COLOR_RED\" number: 1", "\"COLOR_RED\" number: 2"},
        Edit{"MethodRenamed", "\"Add\"", "\"Put\""},
        Edit{"StreamDropped", "client_streaming: true", ""},
        Edit{"PackageRenamed", "\"shop.v1\"", "\"shop.v2\""}),
    [](const auto& edit) { return edit.param.name; });

TEST(CompareContractsTest, AnAdditionRemovesNothing) {
  const auto before = ParsedContract(kCart).Describe();
  const auto after = ParsedContract(Edited({"", "\"AddResponse\" }",
                                            "\"AddResponse\" field { name: \"ok\" number: 1 label: "
                                            "LABEL_OPTIONAL type: TYPE_BOOL } }"}))
                         .Describe();

  const ContractChange change = CompareContracts(before, after);

  EXPECT_THAT(change.removed, IsEmpty());
  EXPECT_THAT(change.added, ElementsAre("field shop.v1.AddResponse.ok = 1 bool singular"));
}

TEST(LintContractTest, AProperContractHasNoOffence) {
  EXPECT_THAT(ParsedContract(kCart).Lint(), IsEmpty());
}

class LintOffenceTest : public testing::TestWithParam<Edit> {};

TEST_P(LintOffenceTest, IsReported) {
  EXPECT_FALSE(ParsedContract(Edited(GetParam())).Lint().empty());
}

INSTANTIATE_TEST_SUITE_P(
    Edits, LintOffenceTest,
    testing::Values(Edit{"PackageIsNotTheFolder", "\"shop.v1\"", "\"shop\""},
                    Edit{"FolderWithoutVersion", "shop/v1/cart.proto\"\npackage: \"shop.v1\"",
                         "shop/cart.proto\"\npackage: \"shop\""},
                    Edit{"FieldInCamelCase", "\"item\"", "\"itemName\""},
                    Edit{"OneofInCamelCase", "\"price\"", "\"thePrice\""},
                    Edit{"MessageInSnakeCase", "message_type {",
                         "message_type { name: \"extra_one\" } message_type {"},
                    Edit{"ZeroIsAValue", "COLOR_UNSPECIFIED", "COLOR_GREEN"},
                    Edit{"ValueWithoutPrefix", "COLOR_RED", "RED"},
                    Edit{"MethodInSnakeCase", "\"Add\"", "\"add\""},
                    Edit{"SharedMessage", "output_type: \"AddResponse\"",
                         "output_type: \"AddRequest\""},
                    Edit{"ServiceWithoutSuffix", "CartService", "Cart"}),
    [](const auto& edit) { return edit.param.name; });

bool UpdateSnapshot() {
  std::ofstream file(kSnapshotFile, std::ios::trunc);
  for (const std::string& line : DescribeContract(ContractFiles())) file << line << '\n';
  file.close();
  fmt::print("{} {}\n", file.good() ? "wrote" : "cannot write", kSnapshotFile);
  return file.good();
}

}  // namespace
}  // namespace alaya

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc == 2 && std::string_view(argv[1]) == "--update") {
    return alaya::UpdateSnapshot() ? 0 : 1;
  }
  return RUN_ALL_TESTS();
}
