"""A small runtime: one thread steps all active requests; results are read by `await`, `async for` or `.result()`."""

import asyncio
import hashlib
import os
import queue
import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import numpy as np

from ._embedded import STEP_S, model_of
from ._tables import HAS_PROMPT_LOGPROBS, has


class Tensor:
    """Logits as torch gives them: to be read by .float().cpu().numpy() alone."""

    def __init__(self, rows, is_ready=False):
        self._rows, self._is_ready = rows, is_ready

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, item):
        return Tensor(self._rows[item])

    def float(self):
        return Tensor(self._rows, self._is_ready)

    def cpu(self):
        return Tensor(self._rows, is_ready=True)

    def numpy(self):
        if not self._is_ready:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        return self._rows


class Logprob:
    def __init__(self, logprob, rank):
        self.logprob, self.rank = logprob, rank


class RequestOutput:
    """One request's result: it is told of chunks in the order in which they came."""

    def __init__(self, prompt, params, streaming):
        self.prompt_token_ids, self._streaming = prompt, streaming
        self.context_logits, self.finished = None, False
        self.outputs = [SimpleNamespace(index=0, text="", token_ids=[], finish_reason=None, prompt_logprobs=None,
                                        request_perf_metrics=None)]
        self._queue, self._loop, self._aqueue = queue.Queue(), None, None
        try:
            self._loop, self._aqueue = asyncio.get_running_loop(), asyncio.Queue()
        except RuntimeError:
            pass

    def _put(self, chunk):
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._aqueue.put_nowait, chunk)
        else:
            self._queue.put(chunk)

    def _take(self, chunk):
        tokens, last = chunk
        if isinstance(last, Exception):
            raise last
        self.outputs[0].token_ids = self.outputs[0].token_ids + tokens
        if last is not None:
            self.finished = True
            self.context_logits = last["context_logits"]
            self.outputs[0].finish_reason = "length"
            self.outputs[0].prompt_logprobs = last["prompt_logprobs"]
            self.outputs[0].request_perf_metrics = last["perf"]

    def result(self, timeout=None):
        if self._loop is not None:
            raise RuntimeError("result() of a request that was made inside a running event loop would block it")
        while not self.finished:
            self._take(self._queue.get(timeout=timeout))
        return self

    def chunks(self):
        """The tokens of each step as they come."""
        while not self.finished:
            before = len(self.outputs[0].token_ids)
            self._take(self._queue.get())
            yield self.outputs[0].token_ids[before:]

    def __aiter__(self):
        if not self._streaming:
            raise RuntimeError("async for needs streaming=True")
        return self

    async def __anext__(self):
        if self.finished:
            raise StopAsyncIteration
        self._take(await self._aqueue.get())
        return self


class Runtime:
    def __init__(self, args, is_engine, folder):
        self.model, self._iteration = model_of(folder), 0
        self._args, self._is_engine = args, is_engine
        self._reuse = args.kv_cache_config.enable_block_reuse
        self._seen, self._waiting, self._active, self._stats = set(), queue.Queue(), [], []
        self._keeps = bool(args.iter_stats_max_iterations if is_engine else args.enable_iter_perf_stats)
        self._most = getattr(args, "max_stats_len", None) or args.iter_stats_max_iterations or 1000
        self._drafts = getattr(args.speculative_config, "max_draft_len", 0) if args.speculative_config else 0
        self._forced = os.environ.get("TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS")
        self._latency_before_ms = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, prompt, params, streaming):
        output = RequestOutput(list(prompt), params, streaming)
        one = SimpleNamespace(output=output, prompt=list(prompt), params=params, got=0, arrival=time.monotonic(),
                              first=None, next=None, scheduled=None, accepted=0, drafted=0,
                              read=self.model.sequence(), rows=None, first_iter=None)
        self._waiting.put(one)
        return output

    def drain_stats(self):
        found, self._stats = self._stats, []
        return found

    def stop(self):
        self._stop.set()
        self._thread.join()
        for one in self._active:
            one.output._put(([], RuntimeError("the engine was shut down")))

    def _run(self):
        while not self._stop.is_set():
            while len(self._active) < self._args.max_batch_size and not self._waiting.empty():
                self._active.append(self._waiting.get())
            if not self._active:
                time.sleep(STEP_S / 5)
                continue
            begin = time.perf_counter()
            time.sleep(self.model.step_s)
            prompts = sum(not one.got for one in self._active)
            ran = {"numScheduledRequests": len(self._active), "numContextRequests": prompts,
                   "numGenRequests": len(self._active) - prompts, "numPausedRequests": 0,
                   "numCtxTokens": sum(len(one.prompt) for one in self._active if not one.got)}
            for one in list(self._active):
                self._step(one)
            self._keep((time.perf_counter() - begin) * 1000, ran)

    def _step(self, one):
        one.scheduled = one.scheduled or time.monotonic()
        count = 1
        if one.next is None:
            one.rows, one.first_iter = one.read(one.prompt), self._iteration
            one.next = int(one.rows[-1].argmax())
        if self._drafts and one.got:
            accepted = int(float(self._forced)) if self._forced else (one.got % (self._drafts + 1))
            one.accepted, one.drafted = one.accepted + min(accepted, self._drafts), one.drafted + self._drafts
            count += min(accepted, self._drafts)
        count = min(count, one.params.max_tokens - one.got)
        tokens = []
        for _ in range(count):
            if one.got + len(tokens):
                one.next = int(one.read([one.next])[-1].argmax())
            tokens.append(one.next)
        one.got += count
        one.first = one.first or time.monotonic()
        is_last = one.got >= one.params.max_tokens
        if is_last:
            self._active.remove(one)
        one.output._put((tokens, self._end(one) if is_last else None))

    def _end(self, one):
        return {"context_logits": self._logits(one), "prompt_logprobs": self._logprobs(one), "perf": self._perf(one)}

    def _logits(self, one):
        name = hashlib.sha256(bytes(str(one.prompt), "ascii")).digest()
        reused = 32 if self._reuse and name in self._seen and len(one.prompt) > 32 else 0
        self._seen.add(name)
        if not one.params.return_context_logits or (self._is_engine and not one.params.gathers):
            return None
        return Tensor(one.rows[reused:])  # silently shorter, as tokens from reused blocks have none

    def _logprobs(self, one):
        wanted = one.params.prompt_logprobs
        if not wanted:
            return None
        if not self._is_engine and not HAS_PROMPT_LOGPROBS:
            return None
        entries = []
        for position in range(len(one.prompt)):
            row = one.rows[position].astype(np.float64)
            row = row - np.log(np.exp(row).sum())
            best = [int(place) for place in np.argsort(row)[::-1][:wanted]]
            if has("1.2") and position + 1 < len(one.prompt):
                best.append(one.prompt[position + 1])  # earlier versions leave the actual token out
            entries.append({place: Logprob(float(row[place]), 1) for place in best})
        return entries

    def _perf(self, one):
        if not (one.params.return_perf_metrics or getattr(self._args, "return_perf_metrics", False)):
            return None
        timing = SimpleNamespace(
            arrival_time=timedelta(seconds=one.arrival),
            first_scheduled_time=timedelta(seconds=one.scheduled),
            first_token_time=timedelta(seconds=one.first),
            last_token_time=timedelta(seconds=time.monotonic()),
        )
        blocks = SimpleNamespace(num_total_allocated_blocks=2, num_new_allocated_blocks=2, num_reused_blocks=0,
                                 num_missed_blocks=2, kv_cache_hit_rate=0.0)
        drafts = SimpleNamespace(total_accepted_draft_tokens=one.accepted, total_draft_tokens=one.drafted,
                                 acceptance_rate=one.accepted / one.drafted if one.drafted else 0.0)
        return SimpleNamespace(timing_metrics=timing, kv_cache_metrics=blocks, speculative_decoding=drafts,
                               first_iter=one.first_iter, last_iter=self._iteration, iter=self._iteration)

    def _keep(self, latency_ms, ran):
        self._iteration += 1
        if self._keeps:
            tokens = self._args.kv_cache_config.max_tokens or 0
            told = {
                "iter": len(self._stats),
                "iterLatencyMS": latency_ms,
                "numActiveRequests": len(self._active) or 1,
                "numQueuedRequests": self._waiting.qsize(),
                "gpuMemUsage": 1 << 30,
                "inflightBatchingStats": ran,
                "kvCacheStats": {"maxNumBlocks": tokens // 32, "freeNumBlocks": tokens // 32 - 1, "usedNumBlocks": 1,
                                 "tokensPerBlock": 32, "reusedBlocks": 0, "missedBlocks": 1, "cacheHitRate": 0.0},
            }
            if self._drafts:
                told["specDecodingStats"] = {"numDraftTokens": self._drafts, "numAcceptedTokens": 1,
                                             "numRequestsWithDraftTokens": 1, "acceptanceLength": 2.0}
            if has("1.3.0rc21"):
                told["hostStepTimeMS"] = latency_ms
                if self._latency_before_ms is not None:
                    told["prevDeviceStepTimeMS"] = self._latency_before_ms * 0.9
            self._latency_before_ms = latency_ms
            self._stats = [*self._stats, told][-self._most:]
