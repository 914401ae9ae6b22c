// Which instructions the kernels use on this machine, for people to read.

#ifndef ALAYA_INDEX_KERNELS_INSTRUCTION_SET_H_
#define ALAYA_INDEX_KERNELS_INSTRUCTION_SET_H_

#include <string_view>

namespace alaya {

// "AVX-512", "AVX2" or "scalar".
std::string_view InstructionSet();

}  // namespace alaya

#endif  // ALAYA_INDEX_KERNELS_INSTRUCTION_SET_H_
