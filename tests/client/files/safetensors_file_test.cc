#include <gtest/gtest.h>

#include "tests/client/files/malformed_file.h"

namespace alaya::client {
namespace {

std::string OneTensor(std::string_view fields) {
  return Safetensors(R"({"a":{)" + std::string(fields) + "}}", std::string(16, 'x'));
}

class MalformedSafetensorsFileTest : public testing::TestWithParam<MalformedFile> {};

TEST_P(MalformedSafetensorsFileTest, IsRefused) { ExpectRefused(GetParam()); }

INSTANTIATE_TEST_SUITE_P(
    Files, MalformedSafetensorsFileTest,
    testing::Values(
        MalformedFile{"EmptySafetensors", "a.safetensors", ""},
        MalformedFile{"HeaderBeyondTheFile", "a.safetensors", std::string(8, '\x7F') + "{}"},
        MalformedFile{"NoJson", "a.safetensors", Safetensors("{", "")},
        MalformedFile{"JsonArray", "a.safetensors", Safetensors("[]", "")},
        MalformedFile{"DeeplyNestedJson", "a.safetensors",
                      Safetensors(std::string(100000, '['), "")},
        MalformedFile{"NoObject", "a.safetensors", Safetensors(R"({"a":1})", "")},
        MalformedFile{"NoDtype", "a.safetensors",
                      OneTensor(R"("shape":[4],"data_offsets":[0,16])")},
        MalformedFile{"UnknownDtype", "a.safetensors",
                      OneTensor(R"("dtype":"F8","shape":[4],"data_offsets":[0,16])")},
        MalformedFile{"NumberAsDtype", "a.safetensors",
                      OneTensor(R"("dtype":1,"shape":[4],"data_offsets":[0,16])")},
        MalformedFile{"NegativeShape", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[-4],"data_offsets":[0,16])")},
        MalformedFile{"FractionalShape", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[4.0],"data_offsets":[0,16])")},
        MalformedFile{"OneOffset", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[4],"data_offsets":[0])")},
        MalformedFile{"OffsetsReversed", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[0],"data_offsets":[8,4])")},
        MalformedFile{"OffsetsBeyondTheData", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[4],"data_offsets":[4,20])")},
        MalformedFile{"OffsetsUnlikeShape", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[4],"data_offsets":[0,12])")},
        MalformedFile{"ShapeOverflow", "a.safetensors",
                      OneTensor(R"("dtype":"F32","shape":[4294967296,4294967296,4],)"
                                R"("data_offsets":[0,16])")}),
    [](const auto& value) { return value.param.name; });

}  // namespace
}  // namespace alaya::client
