// alayactl key: makes API keys.
//
// A key is 256 random bits; the server's file holds only its SHA-256, so that nobody who
// reads the file can call with it.

#include <openssl/rand.h>
#include <openssl/sha.h>

#include <array>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "client/cli/commands.h"

namespace alaya::client {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr char kKeyPrefix[] = "alaya_";

struct KeyArguments {
  std::string name;
  std::string tenant = "default";
  std::string role = "write";
};

// Base64 with the alphabet for URLs, without padding.
std::string Base64(const std::array<uint8_t, kKeyBytes>& bytes) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text;
  uint32_t bits = 0;
  int bit_count = 0;
  for (const uint8_t byte : bytes) {
    bits = bits << 8U | byte;
    for (bit_count += 8; bit_count >= 6; bit_count -= 6) {
      text += kAlphabet[(bits >> (bit_count - 6)) & 63U];
    }
  }
  if (bit_count > 0) text += kAlphabet[(bits << (6 - bit_count)) & 63U];
  return text;
}

std::string Sha256Hex(const std::string& text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<uint8_t, SHA256_DIGEST_LENGTH> hash;
  SHA256(reinterpret_cast<const uint8_t*>(text.data()), text.size(), hash.data());
  std::string hex;
  for (const uint8_t byte : hash) hex.append({kDigits[byte >> 4U], kDigits[byte & 15U]});
  return hex;
}

Status GenerateKey(const CommandLine& line, const KeyArguments& arguments) {
  std::array<uint8_t, kKeyBytes> bytes;
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    return Unavailable("the system has no random numbers");
  }
  const std::string key = kKeyPrefix + Base64(bytes);
  const std::string file_line =
      arguments.name + " " + arguments.tenant + " " + arguments.role + " sha256:" + Sha256Hex(key);
  if (line.json) {
    line.out << nlohmann::json({{"key", key}, {"line", file_line}}).dump() << '\n';
    return OkStatus();
  }
  line.out << "key, for the client; it is shown only here:\n  " << key
           << "\nline for a file of the server's api_key_files:\n  " << file_line << '\n';
  return OkStatus();
}

}  // namespace

void AddKeyCommands(CLI::App& app, CommandLine& line) {
  CLI::App& key_app = *app.add_subcommand("key", "API keys");
  key_app.require_subcommand(1);
  CLI::App& generate_app = *key_app.add_subcommand("generate", "Make a key; asks no server");
  const auto arguments = std::make_shared<KeyArguments>();
  const std::string name_pattern = "1 to 64 letters, digits, '.', '_' or '-'";
  const auto is_name = [name_pattern](const std::string& text) -> std::string {
    constexpr size_t kBytesMax = 64;
    const bool good = !text.empty() && text.size() <= kBytesMax &&
                      text.find_first_not_of(
                          "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                          "0123456789._-") == std::string::npos;
    return good ? "" : name_pattern;
  };
  generate_app.add_option("name", arguments->name, "Says in the server's log which key it was")
      ->required()
      ->check(is_name);
  generate_app.add_option("--tenant", arguments->tenant, "Whose contexts and sessions it reaches")
      ->check(is_name)
      ->capture_default_str();
  generate_app
      .add_option("--role", arguments->role,
                  "read: use what is stored; write: store and delete, too; admin: the whole server")
      ->check(CLI::IsMember({"read", "write", "admin"}))
      ->capture_default_str();
  generate_app.footer("Example:\n  alayactl key generate engine-1 --tenant team-a --role write");
  generate_app.callback([&line, arguments] {
    line.action = [&line, arguments] { return GenerateKey(line, *arguments); };
  });
}

}  // namespace alaya::client
