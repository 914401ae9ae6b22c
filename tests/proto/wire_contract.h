// The wire contract as text, and the rules that it keeps.

#ifndef ALAYA_TESTS_PROTO_WIRE_CONTRACT_H_
#define ALAYA_TESTS_PROTO_WIRE_CONTRACT_H_

#include <google/protobuf/descriptor.h>

#include <span>
#include <string>
#include <vector>

namespace alaya {

// Every .proto file of proto/alaya/v1, by name; ends the process if one is not linked.
std::vector<const google::protobuf::FileDescriptor*> ContractFiles();

// One line for each field, enum value and method, sorted. A line holds everything that
// a client depends on, so an incompatible change is a line that disappears.
std::vector<std::string> DescribeContract(
    std::span<const google::protobuf::FileDescriptor* const> files);

// Lines that only one of two sorted lists has.
struct ContractChange {
  std::vector<std::string> removed;  // breaks clients
  std::vector<std::string> added;    // does not
};
ContractChange CompareContracts(std::span<const std::string> old_lines,
                                std::span<const std::string> new_lines);

// Offences against the rules of buf's DEFAULT category that descriptors can show: the
// package is the folder and ends in a version; names are written as protobuf wants
// them; an enum's values carry its name and its zero is _UNSPECIFIED; a method has
// request and response messages of its own, named for it.
std::vector<std::string> LintContract(
    std::span<const google::protobuf::FileDescriptor* const> files);

}  // namespace alaya

#endif  // ALAYA_TESTS_PROTO_WIRE_CONTRACT_H_
