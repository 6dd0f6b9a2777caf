"""Times training steps of nanoGPT's shape on PyTorch's CPU backend, or trains its README run in full.

    python benches/peers/nanogpt_cpu.py --config a --threads 2 [--compile] [--text tinyshakespeare.txt]
    python benches/peers/nanogpt_cpu.py --full --threads 2 --text tinyshakespeare.txt [--compile]

A step is what nanoGPT's is: random windows of the text, forward, backward, clipping at 1, fused AdamW
on a cosine schedule. Prints one JSON object on stdout. Without --text the timed steps see random
tokens (the speed is the same); --full needs the text.
"""

import argparse
import hashlib
import json
import math
import statistics
import sys
import time
from pathlib import Path

import torch

import nanogpt

TINY_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"

# name: (model, sequences per step)
CONFIGS = {
    "a": (nanogpt.Config(n_layer=4, n_head=4, n_embd=128, block_size=64, vocab_size=65), 12),
    "b": (nanogpt.Config(n_layer=6, n_head=6, n_embd=384, block_size=256, vocab_size=65, dropout=0.2), 64),
    "c": (nanogpt.Config(n_layer=8, n_head=8, n_embd=512, block_size=256, vocab_size=50304), 16),
}
STEPS, WARMUP_STEPS, LR_PEAK, LR_FINAL = 2000, 100, 1e-3, 1e-4
BETAS, WEIGHT_DECAY, MAX_GRAD_NORM = (0.9, 0.99), 0.1, 1.0


def read_tokens(path):
    """The text's characters as ids in sorted order, split 90/10 into training and validation."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        sys.exit(f"--text: {error}")
    if hashlib.sha256(content).hexdigest() != TINY_SHAKESPEARE_SHA256:
        sys.exit(f"{path}: not tiny Shakespeare (SHA-256 {TINY_SHAKESPEARE_SHA256}); fetch karpathy/char-rnn's input.txt")
    text = content.decode()
    ids = {character: i for i, character in enumerate(sorted(set(text)))}
    tokens = torch.tensor([ids[character] for character in text])
    cut = int(0.9 * len(tokens))
    return tokens[:cut], tokens[cut:]


def learning_rate(step):
    """Linear warm-up, then half a cosine from the peak to a tenth of it."""
    if step < WARMUP_STEPS:
        return LR_PEAK * (step + 1) / (WARMUP_STEPS + 1)
    done = min(1.0, (step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS))
    return LR_FINAL + 0.5 * (1.0 + math.cos(math.pi * done)) * (LR_PEAK - LR_FINAL)


class Trainer:
    """A model with its optimizer and text; `step` is one optimizer step."""

    def __init__(self, config, n_seq, tokens, compiled):
        self.config, self.n_seq, self.tokens = config, n_seq, tokens
        model = nanogpt.Gpt(config)
        self.parameters = list(model.parameters())
        groups = nanogpt.decay_groups(model, WEIGHT_DECAY)
        self.optimizer = torch.optim.AdamW(groups, lr=LR_PEAK, betas=BETAS, fused=True)
        self.model = torch.compile(model) if compiled else model
        self.offsets = torch.arange(config.block_size + 1)

    def batch(self):
        starts = torch.randint(len(self.tokens) - self.config.block_size, (self.n_seq, 1))
        windows = self.tokens[starts + self.offsets]  # (B, T + 1)
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()

    def step(self, index):
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(index)
        loss = self.model(*self.batch())[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss


def validation_loss(model, tokens, block_size):
    """Nats per token over all of `tokens`, in windows that do not overlap (the last one shorter)."""
    n_predicted = len(tokens) - 1
    n_whole = n_predicted // block_size * block_size
    pieces = list(
        zip(
            tokens[:n_whole].view(-1, block_size).split(64),
            tokens[1 : n_whole + 1].view(-1, block_size).split(64),
        )
    )
    if n_whole < n_predicted:
        pieces.append((tokens[n_whole:-1][None], tokens[n_whole + 1 :][None]))
    model.eval()
    with torch.no_grad():
        total = sum(model(x, y)[1].item() * x.numel() for x, y in pieces)
    model.train()
    return total / n_predicted


def time_steps(trainer, seconds):
    """Tokens per second: the median over blocks of about a second, after warm-up."""
    started = time.perf_counter()
    index = 0
    # A compiler runs in the first steps: warm up by count, then by time.
    while index < 3 or time.perf_counter() - started < 1.0:
        trainer.step(index)
        index += 1
    warmup_s = time.perf_counter() - started
    block_started = time.perf_counter()
    trainer.step(index)
    per_block = max(1, round(1.0 / (time.perf_counter() - block_started)))

    rates = []
    timed_from = time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - timed_from < seconds:
        block_started = time.perf_counter()
        for _ in range(per_block):
            index += 1
            trainer.step(index)
        block_s = time.perf_counter() - block_started
        rates.append(per_block * trainer.n_seq * trainer.config.block_size / block_s)
    return {
        "tokens_per_second": statistics.median(rates),
        "tokens_per_second_lowest_block": min(rates),
        "tokens_per_second_highest_block": max(rates),
        "blocks": len(rates),
        "steps_per_block": per_block,
        "warmup_seconds": warmup_s,
    }


def train_in_full(trainer, validation):
    """The README run: 2000 steps, then the loss over the whole last tenth of the text."""
    started = time.perf_counter()
    for index in range(STEPS):
        loss = trainer.step(index)
        if index % 100 == 0:
            print(f"step {index} loss {loss.item():.4f}", file=sys.stderr)
    training_s = time.perf_counter() - started
    # The eager module of the same weights: its windows vary in shape, which would compile again.
    model = getattr(trainer.model, "_orig_mod", trainer.model)
    return {
        "steps": STEPS,
        "training_seconds": training_s,
        "tokens_per_second": STEPS * trainer.n_seq * trainer.config.block_size / training_s,
        "last_batch_loss_nats": loss.item(),
        "validation_loss_nats": validation_loss(model, validation, trainer.config.block_size),
        "validation_tokens": len(validation) - 1,
    }


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", choices=CONFIGS, default="a")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile the model (needs a C++ compiler)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the timed part")
    parser.add_argument("--text", help="path of tiny Shakespeare")
    parser.add_argument("--full", action="store_true", help="train configuration a for 2000 steps and validate")
    parser.add_argument("--seed", type=int, default=1337)
    args = parser.parse_args()
    if args.full and (args.config != "a" or not args.text):
        parser.error("--full trains configuration a and needs --text")
    return args


def main():
    args = parse()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    config, n_seq = CONFIGS[args.config]
    if args.text and config.vocab_size == 65:
        training, validation = read_tokens(args.text)
    else:
        training, validation = torch.randint(config.vocab_size, (1_000_000,)), None
    trainer = Trainer(config, n_seq, training, args.compile)
    measured = train_in_full(trainer, validation) if args.full else time_steps(trainer, args.seconds)
    settings = {
        "schema": "windtunnel.peer.v1",
        "peer": "nanoGPT shape on PyTorch",
        "torch": torch.__version__,
        "config": args.config,
        "compiled": args.compile,
        "threads": args.threads,
        "seed": args.seed,
        "parameters": sum(p.numel() for p in trainer.parameters),
    }
    print(json.dumps(settings | measured))


if __name__ == "__main__":
    main()
