"""Run AutoAWQ on a checkpoint; the Python of AutoAWQ's own environment runs this file.

It imports nothing of ModelVault. The checkpoint was written by a newer transformers, so a
copy of its configuration in the older form is loaded. AutoAWQ computes in f32, which serves
it best: in f16 and bf16 its search sees the noise of its own arithmetic.

AutoAWQ 0.2.9 expects a GPU: it keeps the weights that its search restores with ``.cpu()``,
which on a CPU is no copy, and so restores weights that its first trial has changed. Here it is
given the copy.

Example:
    $ autoawq/bin/python benchmarks/autoawq.py model samples.json 128 out
"""

import json
import shutil
import sys
import time
import warnings
from pathlib import Path


def main() -> None:
    """Quantise ``model`` with the sequences in ``samples.json`` and write ``out``."""
    model, samples, group, out = sys.argv[1:5]
    warnings.simplefilter("ignore")
    import torch
    from awq import AutoAWQForCausalLM
    from awq.quantize.quantizer import AwqQuantizer

    search = AwqQuantizer._compute_best_scale  # noqa: SLF001

    def search_on_cpu(self, x, w_mean, x_mean, module2inspect, *others, **named):
        module = module2inspect
        held = type(module).state_dict
        module.state_dict = lambda: {name: value.clone() for name, value in held(module).items()}
        try:
            return search(self, x, w_mean, x_mean, module, *others, **named)
        finally:
            del module.state_dict

    AwqQuantizer._compute_best_scale = search_on_cpu  # noqa: SLF001 (there is no other way in)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sequences = json.loads(Path(samples).read_text())
    source = Path(out) / "source"
    copy_for_old(Path(model), source)
    loaded = AutoAWQForCausalLM.from_pretrained(
        str(source), torch_dtype=torch.float32, device_map="cpu"
    )
    start = time.monotonic()
    loaded.quantize(
        None,
        quant_config={
            "zero_point": True,
            "q_group_size": int(group),
            "w_bit": 4,
            "version": "GEMM",
            # it would pack routers too, and its search fails on so few outputs
            "modules_to_not_convert": ["mlp.gate"] if loaded.model_type == "qwen3_moe" else None,
        },
        calib_data=sequences,
        max_calib_samples=len(sequences),
        max_calib_seq_len=len(sequences[0]),
    )
    seconds = time.monotonic() - start
    loaded.save_quantized(out)
    shutil.rmtree(source)
    print(json.dumps({"seconds": seconds}))


def copy_for_old(model: Path, folder: Path) -> None:
    """Link a checkpoint's weights beside a configuration that transformers 4 understands."""
    folder.mkdir(parents=True)
    for path in model.glob("*.safetensors*"):
        (folder / path.name).symlink_to(path.resolve())
    config = json.loads((model / "config.json").read_text())
    rope = config.pop("rope_parameters", None)
    if rope:
        config["rope_theta"] = rope["rope_theta"]
        if rope.get("rope_type", "default") != "default":
            config["rope_scaling"] = {k: v for k, v in rope.items() if k != "rope_theta"}
    config["torch_dtype"] = config.pop("dtype", "bfloat16")
    config.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main()
