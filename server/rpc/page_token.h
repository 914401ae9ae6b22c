// Page tokens of the List methods: the last id of a page, tied to the listing that
// made it, so that a token of another listing or a changed one is refused.

#ifndef ALAYA_SERVER_RPC_PAGE_TOKEN_H_
#define ALAYA_SERVER_RPC_PAGE_TOKEN_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "storage/types/status.h"

namespace alaya {

// `listing` describes the method and its filters; it is not secret.
std::string EncodePageToken(std::string_view listing, std::string_view last_id);
// The last id, empty for an empty token. Errors: InvalidArgument.
StatusOr<std::string> DecodePageToken(std::string_view listing, std::string_view token);

// 0 means 100. Errors: InvalidArgument unless 0 to 1000.
StatusOr<size_t> PageSizeFromProto(int32_t page_size);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_PAGE_TOKEN_H_
