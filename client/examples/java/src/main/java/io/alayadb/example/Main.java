package io.alayadb.example;

import com.google.protobuf.ByteString;
import io.alayadb.v1.AdminServiceGrpc;
import io.alayadb.v1.AttendItem;
import io.alayadb.v1.AttendOptions;
import io.alayadb.v1.AttendRequest;
import io.alayadb.v1.AttendResult;
import io.alayadb.v1.CloseSessionRequest;
import io.alayadb.v1.ContextServiceGrpc;
import io.alayadb.v1.CreateSessionRequest;
import io.alayadb.v1.DType;
import io.alayadb.v1.DeleteContextRequest;
import io.alayadb.v1.DiprTarget;
import io.alayadb.v1.FullTarget;
import io.alayadb.v1.ImportContextRequest;
import io.alayadb.v1.ListContextsRequest;
import io.alayadb.v1.Model;
import io.alayadb.v1.RegisterModelRequest;
import io.alayadb.v1.SessionServiceGrpc;
import io.alayadb.v1.Tensor;
import io.alayadb.v1.Window;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.Optional;

/**
 * Stores a small context, attends to it and compares the answers with ../vectors.json.
 *
 * <pre>mvn compile exec:java [-Dexec.args=host:port]</pre>
 */
public final class Main {
  private final Vectors vectors;
  private final ManagedChannel channel;

  private Main(Vectors vectors, ManagedChannel channel) {
    this.vectors = vectors;
    this.channel = channel;
  }

  public static void main(String[] arguments) throws Exception {
    String address =
        arguments.length > 0
            ? arguments[0]
            : Optional.ofNullable(System.getenv("ALAYADB_ADDRESS")).orElse("127.0.0.1:50600");
    var channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
    try {
      new Main(Vectors.read(Path.of("../vectors.json")), channel).run();
    } finally {
      channel.shutdownNow();
    }
    System.out.println("ok: all numbers agree with vectors.json");
  }

  private void run() throws StatusException, InterruptedException {
    var model = vectors.model();
    AdminServiceGrpc.newBlockingV2Stub(channel)
        .registerModel(
            RegisterModelRequest.newBuilder()
                .setModel(
                    Model.newBuilder()
                        .setName(model.name())
                        .setNumLayers(model.numLayers())
                        .setNumQueryHeads(model.numQueryHeads())
                        .setNumKvHeads(model.numKvHeads())
                        .setHeadDim(model.headDim())
                        .setDtype(DType.DTYPE_F32))
                .build());

    var contexts = ContextServiceGrpc.newBlockingV2Stub(channel);
    String contextId = importContext(contexts);
    attend(contextId);

    var listed =
        contexts.listContexts(ListContextsRequest.newBuilder().setModel(model.name()).build());
    expect(
        listed.getContextsList().stream().anyMatch(c -> c.getContextId().equals(contextId)),
        "context " + contextId + " is not listed");
    contexts.deleteContext(DeleteContextRequest.newBuilder().setContextId(contextId).build());
  }

  /** Sends the header, then keys and values by layer. Long contexts send chunks of about 1 MiB. */
  private String importContext(ContextServiceGrpc.ContextServiceBlockingV2Stub contexts)
      throws StatusException, InterruptedException {
    var model = vectors.model();
    var call = contexts.importContext();
    call.write(
        ImportContextRequest.newBuilder()
            .setHeader(
                ImportContextRequest.Header.newBuilder()
                    .setModel(model.name())
                    .addAllTokens(vectors.context().tokens()))
            .build());
    for (int layer = 0; layer < model.numLayers(); ++layer) {
      var kv = vectors.context().layers().get(layer);
      call.write(
          ImportContextRequest.newBuilder()
              .setChunk(
                  ImportContextRequest.Chunk.newBuilder()
                      .setLayer(layer)
                      .setKey(tensor(kv.key(), model.numKvHeads()))
                      .setValue(tensor(kv.value(), model.numKvHeads())))
              .build());
    }
    call.halfClose();
    return call.read().getContextId();
  }

  /** Decodes one token: a request per layer, each asked twice, for exact and for DIPR attention. */
  private void attend(String contextId) throws StatusException, InterruptedException {
    var model = vectors.model();
    var window =
        Window.newBuilder()
            .setSink(vectors.window().sink())
            .setRecent(vectors.window().recent())
            .build();
    var full =
        AttendOptions.newBuilder().setFull(FullTarget.getDefaultInstance()).setWindow(window);
    var dipr =
        AttendOptions.newBuilder()
            .setDipr(DiprTarget.newBuilder().setAlpha(vectors.alpha()))
            .setWindow(window)
            .setTailEstimate(false);

    var sessions = SessionServiceGrpc.newBlockingV2Stub(channel);
    var session =
        sessions.createSession(
            CreateSessionRequest.newBuilder()
                .setModel(model.name())
                .setContextId(contextId)
                .build());
    System.out.printf("session on %d stored tokens%n", session.getReusedTokens());

    var call = sessions.attend();
    for (int layer = 0; layer < model.numLayers(); ++layer) {
      var step = vectors.step().layers().get(layer);
      var item =
          AttendItem.newBuilder()
              .setSessionId(session.getSessionId())
              .setLayer(layer)
              .setQuery(tensor(step.query(), model.numQueryHeads()));
      // The first item appends the new token's key and value; the second one sees them too.
      call.write(
          AttendRequest.newBuilder()
              .setRequestId(layer)
              .addItems(
                  item.clone()
                      .setKey(tensor(step.key(), model.numKvHeads()))
                      .setValue(tensor(step.value(), model.numKvHeads()))
                      .setOptions(full))
              .addItems(item.clone().setOptions(dipr))
              .build());
      var response = call.read();
      check("layer " + layer + " full", response.getResults(0), step.full());
      check("layer " + layer + " dipr", response.getResults(1), step.dipr());
    }
    call.halfClose();
    sessions.closeSession(
        CloseSessionRequest.newBuilder().setSessionId(session.getSessionId()).build());
  }

  /** [tokens, heads, head_dim]; the number of tokens follows from the number of elements. */
  private Tensor tensor(float[] numbers, int heads) {
    int headDim = vectors.model().headDim();
    var data = ByteBuffer.allocate(Float.BYTES * numbers.length).order(ByteOrder.LITTLE_ENDIAN);
    data.asFloatBuffer().put(numbers);
    return Tensor.newBuilder()
        .setDtype(DType.DTYPE_F32)
        .addShape(numbers.length / (heads * headDim))
        .addShape(heads)
        .addShape(headDim)
        .setData(ByteString.copyFrom(data))
        .build();
  }

  private void check(String what, AttendResult result, Vectors.Expected expected) {
    expect(result.getStatus().getCode() == 0, what + ": " + result.getStatus().getMessage());
    checkNear(what + " output", result.getOutput(), expected.output());
    checkNear(what + " log_sum_exp", result.getLogSumExp(), expected.logSumExp());
    long attended = result.getStats().getTokensAttended();
    expect(attended == expected.tokensAttended(), what + ": " + attended + " tokens attended");
    System.out.printf("%s: %d tokens attended%n", what, attended);
  }

  private void checkNear(String what, Tensor actual, float[] expected) {
    expect(actual.getData().size() == Float.BYTES * expected.length, what + " has another size");
    var numbers =
        actual.getData().asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
    for (int i = 0; i < expected.length; ++i) {
      float number = numbers.get(i);
      expect(
          Math.abs(number - expected[i]) <= vectors.tolerance(),
          what + "[" + i + "] is " + number + ", not " + expected[i]);
    }
  }

  private static void expect(boolean condition, String message) {
    if (!condition) {
      throw new IllegalStateException(message);
    }
  }
}
