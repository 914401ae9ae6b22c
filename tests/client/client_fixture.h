// A client that is connected to a fake server.

#ifndef ALAYA_TESTS_CLIENT_CLIENT_FIXTURE_H_
#define ALAYA_TESTS_CLIENT_CLIENT_FIXTURE_H_

#include <gtest/gtest.h>

#include "client/client.h"
#include "tests/client/fake_server.h"

namespace alaya::client {

class ClientTest : public testing::Test {
 protected:
  Client Connect(const ClientOptions& options = {}) {
    StatusOr<Client> client = Client::Connect(server_.target(), options);
    EXPECT_TRUE(client.ok()) << client.status();
    return *client;
  }

  FakeServer server_;
};

}  // namespace alaya::client

#endif  // ALAYA_TESTS_CLIENT_CLIENT_FIXTURE_H_
