"""The GPU kernels (cuda/) and the standard workload for Python: compiled here, called with PyTorch's tensors."""

import ctypes
import math
import shutil
import subprocess
import sys
from ctypes import POINTER, Structure, byref, c_float, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

try:
    import torch
except ImportError:
    sys.exit("gpu_bench: this Python has no PyTorch")

ROOT = Path(__file__).resolve().parents[2]
KV_HEADS, GROUP, HEAD_DIM = 8, 4, 128
SINK, RECENT = 128, 512
DTYPE_NUMBERS = {torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}
MISSED_MAX = 4096


class Shape(Structure):
    _fields_ = [(name, c_uint32) for name in ("head_dim", "task_count", "query_count", "token_count", "window_count")]


class Options(Structure):
    _fields_ = [(name, c_float) for name in ("scale", "log_alpha", "deviations", "rest_error")]


class Batch(Structure):
    _fields_ = [(name, c_void_p) for name in ("tasks", "queries", "scratch", "outputs", "log_sum_exps", "rest_shares",
                                              "tokens_attended", "rows_scored", "missed", "missed_counts")]
    _fields_ += [("missed_capacity", c_uint32), ("step", c_void_p)]


class CacheMemory(Structure):
    _fields_ = [("memory", c_void_p), ("set_count", c_uint32)]


class HeadRows(Structure):
    _fields_ = [("keys", c_void_p), ("values", c_void_p), ("head_dim", c_uint32), ("token_count", c_uint32),
                ("dtype", c_uint32)]

    @classmethod
    def of(cls, keys, values):  # [tokens, head_dim] each, contiguous
        return cls(keys.data_ptr(), values.data_ptr(), keys.shape[1], keys.shape[0], DTYPE_NUMBERS[keys.dtype])


class Workload:
    """Keys and values [kv heads, tokens, head_dim] of a layer, and queries [kv heads, group, head_dim]."""

    def __init__(self, library, tokens, layer, device):
        self.library, self.layer, self.tokens, self.device = library, layer, tokens, device
        self.handle = library.alaya_workload(tokens, 1)
        parts = [torch.empty(tokens, KV_HEADS, HEAD_DIM, dtype=torch.bfloat16) for _ in range(2)]
        library.alaya_workload_layer(self.handle, layer, *(part.data_ptr() for part in parts))
        self.keys, self.values = (part.to(device).transpose(0, 1).contiguous() for part in parts)

    def queries(self, step):
        queries = torch.empty(KV_HEADS, GROUP, HEAD_DIM)
        self.library.alaya_workload_queries(self.handle, self.layer, self.tokens + step, queries.data_ptr())
        return queries.to(torch.bfloat16).float().to(self.device)

    def __del__(self):
        self.library.alaya_workload_destroy(self.handle)


def compile_workload(folder, reuse=False):
    library = folder / "workload.so"
    sources = ["tests/benchmarks/gpu_bench_workload.cc", "tests/support/attention_workload.cc",
               "tests/support/element_codec.cc"]
    if not (reuse and library.exists()):
        subprocess.run(["c++", "-std=c++20", "-O2", "-fPIC", "-ffp-contract=off", "-pthread", "-shared", "-I", str(ROOT),
                        *(str(ROOT / source) for source in sources), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.alaya_workload.restype = c_void_p
    loaded.alaya_workload.argtypes = [c_uint64, c_uint64]
    loaded.alaya_workload_destroy.argtypes = [c_void_p]
    loaded.alaya_workload_layer.argtypes = [c_void_p, c_uint32, c_void_p, c_void_p]
    loaded.alaya_workload_queries.argtypes = [c_void_p, c_uint32, c_uint64, c_void_p]
    return loaded


def compile_kernels(folder, on_host, reuse=False):
    library = folder / ("host.so" if on_host else "device.so")
    source = str(ROOT / "tests/benchmarks/gpu_bench_library.cc")
    if on_host:
        command = ["c++", "-std=c++20", "-O2", "-fPIC"]
    else:
        major, minor = torch.cuda.get_device_capability() if torch.cuda.is_available() else (9, 0)
        nvcc = next((path for path in (shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc",
                                       str(Path.home() / ".cache/alayadb/cuda/toolkit/bin/nvcc"))
                     if path and Path(path).exists()), None)
        if nvcc is None:
            sys.exit("gpu_bench: there is no nvcc: put it into the PATH, or run deploy/install-deps --cuda")
        command = [nvcc, "-std=c++17", "-O3", f"-arch=sm_{major}{minor}", "--expt-relaxed-constexpr", "-x", "cu",
                   "-Xcompiler", "-fPIC"]
    if not (reuse and library.exists()):
        subprocess.run([*command, "-shared", "-I", str(ROOT), source, "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.alaya_flat_head_bytes.restype = loaded.alaya_scratch_bytes.restype = c_size_t
    loaded.alaya_task_bytes.restype = loaded.alaya_offer_bytes.restype = loaded.alaya_cache_bytes.restype = c_size_t
    loaded.alaya_cache_bytes.argtypes = [c_uint32, c_uint32]
    loaded.alaya_make_offer.argtypes = [c_void_p, c_uint32, POINTER(Batch), c_void_p]
    loaded.alaya_flat_head_bytes.argtypes = [c_uint32, c_uint32]
    loaded.alaya_scratch_bytes.argtypes = [POINTER(Shape)]
    loaded.alaya_encode.argtypes = [POINTER(HeadRows), c_void_p, c_void_p]
    loaded.alaya_make_task.argtypes = [POINTER(HeadRows)] * 3 + [c_void_p, POINTER(CacheMemory), c_void_p]
    loaded.alaya_nearest_scratch_bytes.restype = c_size_t
    loaded.alaya_nearest_scratch_bytes.argtypes = [c_uint32] * 3
    loaded.alaya_nearest.argtypes = [POINTER(HeadRows), c_void_p, c_uint32, c_uint32, c_void_p, c_void_p, c_void_p]
    loaded.alaya_attend.argtypes = [POINTER(Shape), POINTER(Options), POINTER(Batch), c_void_p, c_void_p, c_int, c_int]
    loaded.alaya_score_stretches.argtypes = [c_void_p] * 5
    return loaded


def memory(byte_count, device):
    """Poisoned, 256-byte aligned memory; NaN as floats."""
    tensor = torch.full((byte_count + 256,), 0xFF, dtype=torch.uint8, device=device)
    return tensor[-tensor.data_ptr() % 256:]


def stream_of(device):
    return torch.cuda.current_stream().cuda_stream if device == "cuda" else None


class Sessions:
    """A batch over keys and values [sessions, kv heads, tokens, head_dim], whose memory chosen rows are read from.

    cache: of rows, in what an eighth of the KV's bytes leaves beside index and windows. reaches: False: no row but
    cached ones is read; what is missed is listed in `missed`. index: False: the windows are all that is attended.
    """

    def __init__(self, library, keys, values, group, device, window=(SINK, RECENT), cache=False, reaches=True,
                 index=True):
        self.library, self.device = library, device
        sessions, heads, tokens, head_dim = keys.shape
        sink, recent = window
        self.keep = []  # memory that tasks point to
        self.index_bytes = self.window_bytes = self.cache_bytes = 0
        row_bytes = head_dim * keys.element_size()
        left = tokens * row_bytes // 4 - library.alaya_flat_head_bytes(head_dim, tokens) - (sink + recent) * 2 * row_bytes
        set_count = max(0, min(4095, left // library.alaya_cache_bytes(1, head_dim))) if cache else 0
        task_bytes = library.alaya_task_bytes()
        tasks = torch.zeros(sessions * heads * task_bytes, dtype=torch.uint8)
        for i in range(sessions * heads):
            head_keys, head_values = keys[i // heads, i % heads], values[i // heads, i % heads]
            rows = HeadRows.of(head_keys, head_values)
            codes = memory(library.alaya_flat_head_bytes(head_dim, tokens) if index else 0, device)
            if index:
                self.check(library.alaya_encode(byref(rows), codes.data_ptr(), stream_of(device)))
            ends = (head_keys[:sink], head_values[:sink], head_keys[tokens - recent:], head_values[tokens - recent:])
            windows = [part.to(device, copy=True) for part in ends]
            cache_memory = torch.zeros(library.alaya_cache_bytes(set_count, head_dim) + 16, dtype=torch.uint8,
                                       device=device)
            if not reaches:
                rows.keys = rows.values = None
            library.alaya_make_task(byref(rows), byref(HeadRows.of(*windows[:2])), byref(HeadRows.of(*windows[2:])),
                                    codes.data_ptr() if index else None, byref(CacheMemory(cache_memory.data_ptr(), set_count)),
                                    tasks.data_ptr() + i * task_bytes)
            self.index_bytes += codes.numel()
            self.window_bytes += sum(part.numel() * part.element_size() for part in windows)
            self.cache_bytes += library.alaya_cache_bytes(set_count, head_dim)
            self.keep += [codes, cache_memory, *windows]
        self.shape = Shape(head_dim, sessions * heads, group, tokens if index else 0, max(window))
        count = sessions * heads * group
        floats = {"dtype": torch.float32, "device": device}
        self.tasks = tasks.to(device)
        self.queries = torch.zeros(sessions * heads, group, head_dim, **floats)
        self.outputs = torch.full((sessions * heads, group, head_dim), math.nan, **floats)
        self.log_sum_exps = torch.full((count,), math.nan, **floats)
        self.attended = torch.zeros(count, dtype=torch.int32, device=device)
        self.scored = torch.zeros(sessions * heads, dtype=torch.int32, device=device)
        self.rest_shares = torch.full((count,), math.nan, **floats)
        self.missed = torch.zeros(sessions * heads, MISSED_MAX if reaches else tokens, dtype=torch.int32, device=device)
        self.missed_counts = torch.zeros(sessions * heads, dtype=torch.int32, device=device)
        self.step = torch.ones(1, dtype=torch.int32, device=device)
        self.scratch = memory(library.alaya_scratch_bytes(byref(self.shape)), device)
        self.batch = Batch(*(tensor.data_ptr() for tensor in (
            self.tasks, self.queries, self.scratch, self.outputs, self.log_sum_exps, self.rest_shares, self.attended,
            self.scored, self.missed, self.missed_counts)), self.missed.shape[1], self.step.data_ptr())
        self.offers = None
        if cache:
            offer_bytes = library.alaya_offer_bytes()
            offers = torch.zeros(sessions * heads * offer_bytes, dtype=torch.uint8)
            for i in range(sessions * heads):
                library.alaya_make_offer(tasks.data_ptr() + i * task_bytes, i, byref(self.batch),
                                         offers.data_ptr() + i * offer_bytes)
            self.offers = offers.to(device)

    @property
    def device_bytes(self):
        return self.index_bytes + self.window_bytes + self.cache_bytes

    @staticmethod
    def check(error):
        if error != 0:
            raise RuntimeError(f"CUDA error {error}")

    def rows_outside(self):
        """Rows that queries of the last step needed from outside the cache, of all heads."""
        listed = torch.arange(self.missed.shape[1], device=self.missed.device) < self.missed_counts[:, None]
        return int((listed & (self.missed >> 24 != 0)).sum())

    def launch(self, options, step=-1, step_count=1):
        offers = None if self.offers is None else self.offers.data_ptr()
        self.check(self.library.alaya_attend(byref(self.shape), byref(options), byref(self.batch), offers,
                                             stream_of(self.device), step, step_count))

    def attend(self, queries, options):
        self.queries.copy_(queries.reshape(self.queries.shape))
        self.outputs.fill_(math.nan)
        self.launch(options)
        return self.outputs.clone()

    def record(self, options, overlaps=True):
        self.launch(options)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.launch(options, step_count=1 if overlaps else 0)
        return graph


class Nearest:
    """The first stage of building the fine index: the best keys [width] of every query."""

    def __init__(self, library, keys, queries, width, device):
        self.library, self.queries, self.width, self.device = library, queries.contiguous(), width, device
        self.rows = HeadRows.of(keys, keys)
        self.tokens = torch.zeros(len(queries), width, dtype=torch.int32, device=device)
        self.scratch = memory(library.alaya_nearest_scratch_bytes(len(queries), width, len(keys)), device)

    def launch(self):
        Sessions.check(self.library.alaya_nearest(
            byref(self.rows), self.queries.data_ptr(), len(self.queries), self.width, self.scratch.data_ptr(),
            self.tokens.data_ptr(), stream_of(self.device)))


class Stretches:
    """Scores of the coarse index's stretches: rows [heads, stretches, bytes], weights [heads, queries, bytes]."""

    def __init__(self, library, rows, weights, device):
        self.library, self.rows, self.weights, self.device = library, rows.contiguous(), weights.contiguous(), device
        heads, stretches, row_bytes = rows.shape
        self.counts = (c_uint32 * 4)(heads, weights.shape[1], stretches, row_bytes)
        self.sums = torch.full((heads, weights.shape[1], stretches), math.nan, device=device)

    def launch(self):
        Sessions.check(self.library.alaya_score_stretches(
            self.rows.data_ptr(), self.weights.data_ptr(), self.counts, self.sums.data_ptr(), stream_of(self.device)))
