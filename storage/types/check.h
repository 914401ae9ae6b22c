// CHECK: ends the process when one of our own invariants is broken.
//
// Always on. For what a caller can cause, return a Status; in inner loops, assert.

#ifndef ALAYA_STORAGE_TYPES_CHECK_H_
#define ALAYA_STORAGE_TYPES_CHECK_H_

#include <cstdio>
#include <cstdlib>

#define ALAYA_CHECK(condition)                                                               \
  do {                                                                                       \
    if (!(condition)) [[unlikely]] {                                                         \
      std::fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)

#endif  // ALAYA_STORAGE_TYPES_CHECK_H_
