// Stores a small context, attends to it and compares the answers with ../vectors.json.
//
//     npm start [-- host:port]

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createChannel, createClient } from "nice-grpc";

import { AdminServiceDefinition } from "./generated/alaya/v1/admin_service.js";
import type { AttendOptions } from "./generated/alaya/v1/attention.js";
import { ContextServiceDefinition } from "./generated/alaya/v1/context_service.js";
import {
  type AttendRequest,
  type AttendResult,
  type DeepPartial,
  SessionServiceDefinition,
} from "./generated/alaya/v1/session_service.js";
import { DType, Tensor } from "./generated/alaya/v1/tensor.js";

interface Expected {
  output: number[];
  log_sum_exp: number[];
  tokens_attended: number;
}

interface Vectors {
  model: {
    name: string;
    num_layers: number;
    num_query_heads: number;
    num_kv_heads: number;
    head_dim: number;
  };
  alpha: number;
  window: { sink: number; recent: number };
  tolerance: number;
  context: { tokens: number[]; layers: { key: number[]; value: number[] }[] };
  step: {
    layers: { query: number[]; key: number[]; value: number[]; full: Expected; dipr: Expected }[];
  };
}

const vectors: Vectors = JSON.parse(
  await readFile(new URL("../../vectors.json", import.meta.url), "utf8"),
);
const { model } = vectors;

/** [tokens, heads, head_dim]; the number of tokens follows from the number of elements. */
function tensor(numbers: number[], heads: number): Tensor {
  const data = Buffer.alloc(4 * numbers.length);
  numbers.forEach((number, i) => data.writeFloatLE(number, 4 * i));
  const tokens = numbers.length / (heads * model.head_dim);
  return { dtype: DType.DTYPE_F32, shape: [tokens, heads, model.head_dim], data };
}

/** The header, then the keys and values of each layer. Long contexts send chunks of about 1 MiB. */
async function* importRequests() {
  const { tokens, layers } = vectors.context;
  yield { part: { $case: "header" as const, value: { model: model.name, tokens } } };
  for (const [layer, { key, value }] of layers.entries()) {
    const chunk = {
      layer,
      key: tensor(key, model.num_kv_heads),
      value: tensor(value, model.num_kv_heads),
    };
    yield { part: { $case: "chunk" as const, value: chunk } };
  }
}

/** One decoded token: a request per layer, each asked twice, for exact and for DIPR attention. */
async function* attendRequests(sessionId: string): AsyncIterable<DeepPartial<AttendRequest>> {
  const { alpha, window } = vectors;
  const full: DeepPartial<AttendOptions> = { target: { $case: "full", value: {} }, window };
  const dipr: DeepPartial<AttendOptions> = {
    target: { $case: "dipr", value: { alpha } },
    window,
    tailEstimate: false,
  };
  for (const [layer, step] of vectors.step.layers.entries()) {
    const query = tensor(step.query, model.num_query_heads);
    const key = tensor(step.key, model.num_kv_heads);
    const value = tensor(step.value, model.num_kv_heads);
    yield {
      requestId: layer,
      items: [
        // This item appends the new token's key and value; the next one sees them too.
        { sessionId, layer, query, key, value, options: full },
        { sessionId, layer, query, options: dipr },
      ],
    };
  }
}

function check(what: string, result: AttendResult, expected: Expected): void {
  assert.equal(result.status?.code ?? 0, 0, `${what}: ${result.status?.message}`);
  checkNear(`${what} output`, result.output, expected.output);
  checkNear(`${what} log_sum_exp`, result.logSumExp, expected.log_sum_exp);
  assert.equal(result.stats?.tokensAttended, expected.tokens_attended, what);
  console.log(`${what}: ${expected.tokens_attended} tokens attended`);
}

function checkNear(what: string, actual: Tensor | undefined, expected: number[]): void {
  assert.equal(actual?.data.length, 4 * expected.length, what);
  for (const [i, want] of expected.entries()) {
    const got = actual.data.readFloatLE(4 * i);
    assert.ok(Math.abs(got - want) <= vectors.tolerance, `${what}[${i}] is ${got}, not ${want}`);
  }
}

const address = process.argv[2] ?? process.env.ALAYADB_ADDRESS ?? "127.0.0.1:50600";
const channel = createChannel(address);
try {
  const admin = createClient(AdminServiceDefinition, channel);
  const contexts = createClient(ContextServiceDefinition, channel);
  const sessions = createClient(SessionServiceDefinition, channel);

  await admin.registerModel({
    model: {
      name: model.name,
      numLayers: model.num_layers,
      numQueryHeads: model.num_query_heads,
      numKvHeads: model.num_kv_heads,
      headDim: model.head_dim,
      dtype: DType.DTYPE_F32,
    },
  });
  const { contextId } = await contexts.importContext(importRequests());

  const { sessionId, reusedTokens } = await sessions.createSession({
    model: model.name,
    contextId,
  });
  console.log(`session on ${reusedTokens} stored tokens`);
  let answered = 0;
  for await (const { requestId, results } of sessions.attend(attendRequests(sessionId))) {
    const step = vectors.step.layers[requestId]!;
    check(`layer ${requestId} full`, results[0]!, step.full);
    check(`layer ${requestId} dipr`, results[1]!, step.dipr);
    ++answered;
  }
  assert.equal(answered, model.num_layers);
  await sessions.closeSession({ sessionId });

  const listed = await contexts.listContexts({ model: model.name });
  assert.ok(listed.contexts.some((context) => context.contextId === contextId));
  await contexts.deleteContext({ contextId });
  console.log("ok: all numbers agree with vectors.json");
} finally {
  channel.close();
}
