"""What a decoded token costs on the Python path: one layer through a transformers Session.

    python tests/benchmarks/transformers_bench.py [--runs 500] [--context 64] [--batch 1 8]

Shape of Llama-3-8B's layers: 32 query heads, 8 KV heads, head_dim 128, bfloat16. The whole call is
timed, then each of its parts by itself on the same shapes; the engine's time is what the server
says, and transport is the rest: gRPC on both sides, threads that wake, the server's conversions.
The floor is the shortest call that the same client makes on the same server, a truncation.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration" / "python"))
import alayadb.transformers as alayadb
from alayadb import AttendItem
from alayadb._arrays import fill_tensor
from alayadb._attend import Batch
from alayadb.transformers._tensors import to_array, to_tensor
from alayadb.v1 import session_service_pb2

from server_process import ServerProcess

HEADS, KV_HEADS, DIM = 32, 8, 128


def make_model():
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=DIM,
    )
    return LlamaForCausalLM(config).to(torch.bfloat16).eval()


def states(batch, heads, count):
    return torch.randn(batch, heads, count, DIM, dtype=torch.bfloat16)


def microseconds(work):
    start = time.perf_counter()
    result = work()
    return 1e6 * (time.perf_counter() - start), result


class Layer:
    """One layer of a session, and sessions of the plain client to take its calls apart with."""

    def __init__(self, db, batch, context):
        self.db, self.batch, self.context = db, batch, context
        self.session = alayadb.Session(db, make_model(), target=alayadb.Full())
        self.plain = [db.create_session(self.session.model.name) for _ in range(batch)]
        self.attend(*self.states(context))
        for row in self.plain:
            row.append(0, *(to_array(x[0].transpose(0, 1)) for x in self.states(context)[1:]))

    def states(self, count):
        return [states(self.batch, heads, count) for heads in (HEADS, KV_HEADS, KV_HEADS)]

    def attend(self, query, key, value):
        key, value = self.session.update(key, value, 0)
        return self.session.attend(query, key, value, None, DIM**-0.5)

    def parts(self):
        """Microseconds of one token's call and of its parts."""
        new = self.states(1)
        whole, _ = microseconds(lambda: self.attend(*new))
        copied, (q, k, v) = microseconds(lambda: [to_array(x[:, :, 0]) for x in new])
        made, batch = microseconds(
            lambda: Batch([AttendItem(s, 0, q[i], k[i], v[i]) for i, s in enumerate(self.plain)])
        )
        written, _ = microseconds(batch.request.SerializeToString)
        answers = self.db.attend_many(
            [AttendItem(s, 0, q[i], k[i], v[i]) for i, s in enumerate(self.plain)]
        )
        response = as_response(answers)
        parsed, results = microseconds(
            lambda: session_service_pb2.AttendResponse.FromString(response).results
        )
        read, attentions = microseconds(lambda: batch.read(results))
        stacked, _ = microseconds(lambda: torch.stack([to_tensor(a.output) for a in attentions]))
        floor, _ = microseconds(lambda: self.plain[0].truncate(self.context))
        return {
            "whole": whole,
            "copy": copied + stacked,
            "serialise": made + written,
            "engine": max(a.stats.engine_microseconds for a in answers),
            "parse": parsed + read,
            "floor": floor,
        }


def measure(db, batch, context, runs):
    """Medians in microseconds by part."""
    layer = Layer(db, batch, context)
    times = [layer.parts() for _ in range(runs)]
    medians = {part: statistics.median(t[part] for t in times) for part in times[0]}
    known = sum(medians[part] for part in ("copy", "serialise", "engine", "parse"))
    return {**medians, "transport": medians["whole"] - known}


def as_response(answers):
    """The bytes that such answers come as."""
    response = session_service_pb2.AttendResponse()
    for answer in answers:
        result = response.results.add()
        fill_tensor(answer.output, result.output)
        fill_tensor(answer.log_sum_exp, result.log_sum_exp)
        result.stats.CopyFrom(answer._raw_stats)
    return response.SerializeToString()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--context", type=int, default=64, help="tokens attended to")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--listen", default="127.0.0.1:0", help="or unix:/path")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    parts = ("whole", "copy", "serialise", "transport", "engine", "parse", "floor")
    print("batch  " + "".join(f"{part:>10}" for part in parts) + "   (median microseconds)")
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory), listen=arguments.listen)
        try:
            with server.connect() as db, torch.no_grad():
                for batch in arguments.batch:
                    medians = measure(db, batch, arguments.context, arguments.runs)
                    print(f"{batch:<7}" + "".join(f"{medians[part]:>10.0f}" for part in parts))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
