// The place of a field in a request, spelled out only when an error needs it.

#ifndef ALAYA_SERVER_RPC_FIELD_PATH_H_
#define ALAYA_SERVER_RPC_FIELD_PATH_H_

#include <optional>
#include <string>
#include <string_view>

namespace alaya {

// `parent.name`, or `parent[index].name` inside a repeated field.
struct FieldPath {
  std::string_view name;
  std::string_view parent = {};
  std::optional<int> index = std::nullopt;

  // A sibling: the same place with another last name.
  FieldPath With(std::string_view other_name) const { return {other_name, parent, index}; }

  std::string ToString() const {
    std::string text(parent);
    if (index) text.append("[").append(std::to_string(*index)).append("]");
    if (!text.empty() && !name.empty()) text.append(".");
    return text.append(name);
  }
};

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_FIELD_PATH_H_
