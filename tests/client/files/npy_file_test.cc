#include <gtest/gtest.h>

#include "tests/client/files/malformed_file.h"

namespace alaya::client {
namespace {

class MalformedNpyFileTest : public testing::TestWithParam<MalformedFile> {};

TEST_P(MalformedNpyFileTest, IsRefused) { ExpectRefused(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Files, MalformedNpyFileTest,
                         testing::Values(MalformedFile{"EmptyNpy", "a.npy", ""},
                                         MalformedFile{"NpyCutInTheHeader", "a.npy",
                                                       Npy("<f4", "(1,)", "").substr(0, 30)},
                                         MalformedFile{"NpyCutInTheData", "a.npy",
                                                       Npy("<f4", "(2,)", "1234567")},
                                         MalformedFile{"NpyWithTrailingBytes", "a.npy",
                                                       Npy("<f4", "(2,)", "123456789")}),
                         [](const auto& value) { return value.param.name; });

}  // namespace
}  // namespace alaya::client
