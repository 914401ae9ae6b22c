// The header of NumPy's .npy format, versions 1.0 to 3.0.
//
//   "\x93NUMPY" | major u8 | minor u8 | length u16 (v1) or u32 (v2, v3), little-endian |
//   a Python dict literal of that length: {'descr': '<f4', 'fortran_order': False,
//   'shape': (3, 4), } padded with spaces, ending in a newline | elements
//
// Source: numpy.lib.format.

#ifndef ALAYA_CLIENT_FILES_NPY_HEADER_H_
#define ALAYA_CLIENT_FILES_NPY_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "client/files/array_file.h"
#include "storage/types/status.h"

namespace alaya::client {

// Enough of a file to know how long its header is.
inline constexpr size_t kNpyPreambleBytes = 12;

// Bytes of the whole header, magic included; the elements follow.
//
// Requires: preamble.size() == kNpyPreambleBytes.
// Errors: InvalidArgument for another format, a version from the future or a header
//   longer than any sensible one.
StatusOr<size_t> NpyHeaderBytes(std::span<const std::byte> preamble);

struct NpyHeader {
  ElementType type = ElementType::kF32;
  std::vector<uint64_t> shape;
  uint64_t data_bytes = 0;
};

// Requires: `header` has the length that NpyHeaderBytes gave.
// Errors: InvalidArgument for Fortran order with more than one dimension, big-endian,
//   structured and other element types, and for anything that is not such a dict.
StatusOr<NpyHeader> ParseNpyHeader(std::span<const std::byte> header);

// A header of version 1.0 for float32 elements, row-major.
std::string MakeNpyHeader(std::span<const uint64_t> shape);

}  // namespace alaya::client

#endif  // ALAYA_CLIENT_FILES_NPY_HEADER_H_
