"""A program for the Python that has vLLM: loads folders one after another, and asks each.

A request is a line of JSON on standard input, the answer a line on standard output:
``{"folder", "dtype", "prompts", "tokens", "out"}`` gives ``{"greedy"}``, the tokens that
follow each prompt, and writes ``out``: for each prompt an array ``[length - 1, vocabulary]``
of f32 log-probabilities of what may follow its first tokens. A folder that vLLM does not
load gives ``{"refused"}``. With the argument ``--lend-kernels`` experts are served, too, for
which vLLM has no kernel on this CPU; see ``experts.py``.
"""

import gc
import json
import os
import sys
from typing import Any

import numpy as np

_LONGEST = 256
"""Tokens of a prompt and what follows it."""


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # vLLM writes its log to standard output
    if "--lend-kernels" in sys.argv:
        from experts import lend_kernels

        lend_kernels()
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    try:
        model = LLM(
            model=request["folder"],
            dtype=request["dtype"],
            max_model_len=_LONGEST,
            max_num_batched_tokens=_LONGEST,
            max_num_seqs=8,
            max_logprobs=-1,
            enforce_eager=True,
            enable_prefix_caching=False,
            seed=0,
        )
    except Exception as error:  # whatever it is, the test looks at it
        return {"refused": f"{type(error).__name__}: {error}"}
    else:
        return _ask(model, request)
    finally:
        model = None
        cleanup_dist_env_and_memory()
        gc.collect()


def _ask(model: Any, request: dict[str, Any]) -> dict[str, Any]:
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": prompt} for prompt in request["prompts"]]
    forced = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=-1, detokenize=False)
    arrays = []
    for output in model.generate(prompts, forced, use_tqdm=False):
        rows = output.prompt_logprobs[1:]  # nothing comes before the first token
        values = [[row[token].logprob for token in range(len(row))] for row in rows]
        arrays.append(np.array(values, dtype=np.float32))
    np.savez(request["out"], *arrays)
    greedy = SamplingParams(
        temperature=0, max_tokens=request["tokens"], ignore_eos=True, detokenize=False
    )
    outputs = model.generate(prompts, greedy, use_tqdm=False)
    return {"greedy": [list(output.outputs[0].token_ids) for output in outputs]}


if __name__ == "__main__":
    main()
