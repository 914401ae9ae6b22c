// What a fuzz target demands: libFuzzer keeps the input of whatever aborts.

#ifndef ALAYA_TESTS_FUZZ_REQUIRE_H_
#define ALAYA_TESTS_FUZZ_REQUIRE_H_

#include <cstdlib>

namespace alaya {

inline void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace alaya

#endif  // ALAYA_TESTS_FUZZ_REQUIRE_H_
