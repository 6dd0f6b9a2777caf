"""Times training steps of nanoGPT's shape on PyTorch's CPU backend, or trains its README run in full.

    python benches/peers/nanogpt_cpu.py --config a --threads 2 [--compile] [--bf16] [--text tinyshakespeare.txt]
    python benches/peers/nanogpt_cpu.py --full --threads 2 --text tinyshakespeare.txt [--compile] [--steps 500 --lr 5e-4]

A step is what nanoGPT's is: random windows of the text, forward, backward, clipping at 1, fused AdamW
on a cosine schedule. --bf16 is nanoGPT's too: f32 weights, the forward pass under `torch.autocast`.
Prints one JSON object on stdout. Without --text the timed steps see random tokens (the speed is the
same); --full needs the text. Allocator and pinning are set from outside, by `interleave.py`.
"""

import argparse
import contextlib
import hashlib
import json
import math
import resource
import statistics
import sys
import time
from pathlib import Path

import torch

import nanogpt
from shapes import CONFIGS

TINY_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"

LR_PEAK, WARMUP_FRACTION, FINAL_FRACTION = 1e-3, 0.05, 0.1
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


def learning_rate(step, steps, peak):
    """Linear warm-up over a twentieth of the steps, then half a cosine from the peak to a tenth of it."""
    warmup_steps = round(WARMUP_FRACTION * steps)
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    done = min(1.0, (step - warmup_steps) / (steps - warmup_steps))
    return peak * (FINAL_FRACTION + 0.5 * (1.0 + math.cos(math.pi * done)) * (1.0 - FINAL_FRACTION))


class Trainer:
    """A model with its optimizer and text; `step` is one optimizer step."""

    def __init__(self, config, n_seq, tokens, args):
        self.config, self.n_seq, self.tokens = config, n_seq, tokens
        self.steps, self.lr = args.steps, args.lr
        model = nanogpt.Gpt(config)
        self.parameters = list(model.parameters())
        groups = nanogpt.decay_groups(model, WEIGHT_DECAY)
        self.optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=BETAS, fused=True)
        self.model = torch.compile(model) if args.compile else model
        self.offsets = torch.arange(config.block_size + 1)
        autocast = torch.autocast("cpu", dtype=torch.bfloat16)
        self.precision = autocast if args.bf16 else contextlib.nullcontext()

    def batch(self):
        starts = torch.randint(len(self.tokens) - self.config.block_size, (self.n_seq, 1))
        windows = self.tokens[starts + self.offsets]  # (B, T + 1)
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()

    def step(self, index):
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(index, self.steps, self.lr)
        with self.precision:
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


def time_steps(trainer, args):
    """Tokens per second: the median over steps, as many as the arguments ask at least, after warm-up."""
    started = time.perf_counter()
    trainer.step(0)  # A compiler runs in it.
    first_step_s = time.perf_counter() - started
    index, warm_from = 1, time.perf_counter()
    # A second one by default: it is the first with the optimizer's moments in place.
    while index < args.warmup_steps or time.perf_counter() - warm_from < 1.0:
        trainer.step(index)
        index += 1

    rates = []
    timed_from = time.perf_counter()
    while len(rates) < args.timed_steps or time.perf_counter() - timed_from < args.seconds:
        step_from = time.perf_counter()
        trainer.step(index)
        index += 1
        rates.append(trainer.n_seq * trainer.config.block_size / (time.perf_counter() - step_from))
    return {
        "tokens_per_second": statistics.median(rates),
        "tokens_per_second_slowest_step": min(rates),
        "tokens_per_second_fastest_step": max(rates),
        "timed_steps": len(rates),
        "first_step_seconds": first_step_s,
    }


def peak_rss_mb():
    """This process's largest resident set, from the kernel; its compilers are processes of their own."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def train_in_full(trainer, validation):
    """All steps of the schedule, then the loss over the whole last tenth of the text."""
    started = time.perf_counter()
    for index in range(trainer.steps):
        loss = trainer.step(index)
        if index % 100 == 0:
            print(f"step {index} loss {loss.item():.4f}", file=sys.stderr)
    training_s = time.perf_counter() - started
    # The eager module of the same weights: its windows vary in shape, which would compile again.
    model = getattr(trainer.model, "_orig_mod", trainer.model)
    return {
        "steps": trainer.steps,
        "training_seconds": training_s,
        "tokens_per_second": trainer.steps * trainer.n_seq * trainer.config.block_size / training_s,
        "last_batch_loss_nats": loss.item(),
        "validation_loss_nats": validation_loss(model, validation, trainer.config.block_size),
        "validation_tokens": len(validation) - 1,
    }


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", choices=CONFIGS, default="a")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile the model (needs a C++ compiler)")
    parser.add_argument("--bf16", action="store_true", help="the forward pass under torch.autocast in bfloat16")
    parser.add_argument("--medium", action="store_true", help="let products of f32 round their inputs to bf16")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the timed part")
    parser.add_argument("--warmup-steps", type=int, default=2, help="steps before that at least, and a second of them")
    parser.add_argument("--timed-steps", type=int, default=3, help="steps that are timed at least")
    parser.add_argument("--text", help="path of tiny Shakespeare")
    parser.add_argument("--full", action="store_true", help="train configuration a for --steps and validate")
    parser.add_argument("--steps", type=int, default=2000, help="length of the schedule")
    parser.add_argument("--lr", type=float, default=LR_PEAK, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=1337)
    args = parser.parse_args()
    if args.full and (args.config != "a" or not args.text):
        parser.error("--full trains configuration a and needs --text")
    return args


def main():
    args = parse()
    imported_mb = peak_rss_mb()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    if args.medium:
        torch.set_float32_matmul_precision("medium")
    config, n_seq = CONFIGS[args.config]
    if args.text and config.vocab_size == 65:
        training, validation = read_tokens(args.text)
    else:
        training, validation = torch.randint(config.vocab_size, (1_000_000,)), None
    trainer = Trainer(config, n_seq, training, args)
    measured = train_in_full(trainer, validation) if args.full else time_steps(trainer, args)
    settings = {
        "schema": "windtunnel.peer.v1",
        "peer": "nanoGPT shape on PyTorch",
        "torch": torch.__version__,
        "config": args.config,
        "compiled": args.compile,
        "bf16": args.bf16,
        "medium": args.medium,
        "threads": args.threads,
        "seed": args.seed,
        "parameters": sum(p.numel() for p in trainer.parameters),
    }
    print(json.dumps(settings | measured | {"imported_rss_mb": imported_mb, "peak_rss_mb": peak_rss_mb()}))


if __name__ == "__main__":
    main()
