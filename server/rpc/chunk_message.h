// A ReadContextResponse as it goes over the wire, made without copying its tensors.
//
// Protobuf would copy a chunk into the message and again into what gRPC sends. The few
// bytes around the tensors are serialised by it, the tensors are sent from where they lie.

#ifndef ALAYA_SERVER_RPC_CHUNK_MESSAGE_H_
#define ALAYA_SERVER_RPC_CHUNK_MESSAGE_H_

#include "grpcpp/support/byte_buffer.h"
#include "server/engine/engine.h"
#include "storage/types/model.h"

namespace alaya {

// Guarantees: parses as the v1::ReadContextResponse of the chunk. The buffer and its copies
//   keep the chunk's memory.
grpc::ByteBuffer ToMessage(const ReadChunk& chunk, const Model& model);

}  // namespace alaya

#endif  // ALAYA_SERVER_RPC_CHUNK_MESSAGE_H_
