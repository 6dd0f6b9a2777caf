"""Times nanoGPT's shape on PyTorch on a CUDA device, or trains its published character run, as fast as PyTorch does.

    python3 benches/gpu/nanogpt_cuda.py --config gpt2 --seconds 3
    python3 benches/gpu/nanogpt_cuda.py --config baby --full --steps 2000 --text tinyshakespeare.txt
    python3 benches/gpu/nanogpt_cuda.py --product 8192

The model is `benches/peers/nanogpt.py`, which ours is checked against number by number. What it gets here:
`torch.compile`, bf16 autocast over f32 weights, `scaled_dot_product_attention` (flash), TF32 where f32 is multiplied,
fused AdamW, clipping at 1, gradients set to None, batches from pinned memory, copied while the device works. The loss is read
every ten steps, as nanoGPT does. `--mode reduce-overhead` is torch.compile with CUDA graphs. Where the whole batch
does not fit the device, it is halved until it does, with the gradients added up, and the record says so.
Prints one JSON object on stdout.
"""

import argparse
import hashlib
import json
import math
import statistics
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()
sys.path.append(str(Path(__file__).resolve().parents[1] / "peers"))

import torch  # noqa: E402

import nanogpt  # noqa: E402
from shapes import CONFIGS as PEERS, Config, flops_per_token  # noqa: E402

# name: (model, sequences per step)
CONFIGS = {
    "gpt2": (Config(n_layer=12, n_head=12, n_embd=768, block_size=1024, vocab_size=50304), 64),
    "baby": PEERS["b"],
    "micro": PEERS["a"],
    # So small that a CPU tries every line of this file in seconds.
    "tiny": (Config(n_layer=2, n_head=2, n_embd=32, block_size=32, vocab_size=65, dropout=0.2), 8),
}
TINY_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"

# nanoGPT's config/train_shakespeare_char.py.
LR_PEAK, LR_FINAL, WARMUP_STEPS, BETAS, WEIGHT_DECAY, MAX_GRAD_NORM = 1e-3, 1e-4, 100, (0.9, 0.99), 0.1, 1.0
LOG_EVERY, EVAL_EVERY, EVAL_BATCHES = 10, 250, 200


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


def learning_rate(step, steps):
    """Linear warm-up, then half a cosine down to a tenth of the peak.

    >>> [round(learning_rate(step, 2100), 6) for step in (0, 100, 1100, 2100)]
    [1e-05, 0.001, 0.00055, 0.0001]
    """
    if step < WARMUP_STEPS:
        return LR_PEAK * (step + 1) / (WARMUP_STEPS + 1)
    done = min(1.0, (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS))
    return LR_FINAL + 0.5 * (1.0 + math.cos(math.pi * done)) * (LR_PEAK - LR_FINAL)


class Device:
    """Where it computes; a CPU too, so that this file can be tried without a GPU."""

    def __init__(self, name):
        self.name, self.is_cuda = name, name.startswith("cuda")
        if self.is_cuda:
            torch.cuda.set_device(torch.device(name))
        self.autocast = torch.autocast(device_type=name.split(":")[0], dtype=torch.bfloat16)

    def put(self, tensor):
        """On the device; the copy goes on while the host does other things."""
        return tensor.pin_memory().to(self.name, non_blocking=True) if self.is_cuda else tensor

    def wait(self):
        if self.is_cuda:
            torch.cuda.synchronize()

    def memory_mb(self):
        return torch.cuda.max_memory_reserved() / 1e6 if self.is_cuda else None


class Trainer:
    """A model with its optimizer and tokens; `step` is one optimizer step."""

    def __init__(self, args, tokens, rows_per_pass):
        self.config, self.n_seq = CONFIGS[args.config]
        self.device, self.tokens, self.steps = Device(args.device), tokens, args.steps
        self.rows_per_pass = rows_per_pass
        self.eager = nanogpt.Gpt(self.config).to(args.device)
        self.parameters = list(self.eager.parameters())
        groups = nanogpt.decay_groups(self.eager, WEIGHT_DECAY)
        self.optimizer = torch.optim.AdamW(groups, lr=LR_PEAK, betas=BETAS, fused=True)
        self.model = self.eager if args.eager else torch.compile(self.eager, mode=args.mode)
        self.offsets = torch.arange(self.config.block_size + 1)
        self.next = self.batch()

    def batch(self, tokens=None):
        """Random windows: inputs and targets (B, T) on the device."""
        tokens = self.tokens if tokens is None else tokens
        starts = torch.randint(len(tokens) - self.config.block_size, (self.n_seq, 1))
        windows = tokens[starts + self.offsets]  # (B, T + 1)
        return self.device.put(windows[:, :-1].contiguous()), self.device.put(windows[:, 1:].contiguous())

    def step(self, index):
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(index, self.steps)
        inputs, targets = self.next
        for rows in range(0, self.n_seq, self.rows_per_pass):
            part = slice(rows, rows + self.rows_per_pass)
            with self.device.autocast:
                loss = self.model(inputs[part], targets[part])[1] * (self.rows_per_pass / self.n_seq)
            if part.stop >= self.n_seq:
                self.next = self.batch()  # While the device works.
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss * (self.n_seq / self.rows_per_pass)

    def first_step(self):
        """Seconds from the start of this process to the end of the first step: a compiler runs in it."""
        loss = self.step(0)
        self.device.wait()
        return {"first_step_seconds": time.perf_counter() - STARTED, "first_loss_nats": loss.item()}


def fitting(args, tokens):
    """A trainer whose first step fits the device, and what that step was: the batch is halved until it does."""
    rows = args.rows_per_pass or CONFIGS[args.config][1]
    while True:
        torch.manual_seed(args.seed)
        try:
            trainer = Trainer(args, tokens, rows)
            return trainer, trainer.first_step()
        except torch.cuda.OutOfMemoryError:
            if rows == 1:
                raise
        # Out of the handler, so that no traceback holds the tensors.
        trainer = None
        torch.compiler.reset()
        torch.cuda.empty_cache()
        rows //= 2


def time_steps(trainer, seconds, warmup_seconds):
    """Tokens per second: blocks of steps queued together and waited for at their end, after a warm-up; their median."""
    index, from_s = 1, time.perf_counter()
    while index < 4 or time.perf_counter() - from_s < warmup_seconds:
        trainer.step(index)
        trainer.device.wait()
        index += 1
    step_s = (time.perf_counter() - from_s) / (index - 1)
    n_steps = max(1, round(seconds / 5 / step_s))
    rates, started = [], time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - started < seconds:
        from_s = time.perf_counter()
        for _ in range(n_steps):
            loss = trainer.step(index)
            index += 1
        trainer.device.wait()
        n_tokens = n_steps * trainer.n_seq * trainer.config.block_size
        rates.append(n_tokens / (time.perf_counter() - from_s))
    return {
        "tokens_per_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "timed_steps": n_steps * len(rates),
        "last_loss_nats": loss.item(),
    }


def train_in_full(trainer, validation):
    """All steps, the loss read every ten; then the loss over the whole last tenth of the text, once.

    nanoGPT evaluates 200 random batches of either part every 250 steps and at the end. That is not done; one such
    evaluation of one part is timed last, so that the time of a run as published can be told beside this one's.
    """
    started = time.perf_counter()
    for index in range(1, trainer.steps):
        loss = trainer.step(index)
        if index % LOG_EVERY == 0:
            loss.item()
    trainer.device.wait()
    training_s = time.perf_counter() - started
    loss_nats = validation_loss(trainer, validation)
    from_s = time.perf_counter()
    random_windows_loss(trainer, validation)
    one_evaluation_s = time.perf_counter() - from_s
    n_evaluations = 2 * (trainer.steps // EVAL_EVERY + 1)
    return {
        "steps": trainer.steps,
        "training_seconds": training_s,
        "tokens_per_second": (trainer.steps - 1) * trainer.n_seq * trainer.config.block_size / training_s,
        "last_loss_nats": loss.item(),
        "validation_loss_nats": loss_nats,
        "one_evaluation_seconds": one_evaluation_s,
        "published_evaluations_seconds": n_evaluations * one_evaluation_s,
    }


@torch.no_grad()
def validation_loss(trainer, tokens):
    """Nats per token over all of `tokens` but a last piece, in windows that do not overlap."""
    t = trainer.config.block_size
    n = (len(tokens) - 1) // t * t
    pieces = list(zip(tokens[:n].view(-1, t).split(64), tokens[1 : n + 1].view(-1, t).split(64)))
    trainer.eager.eval()
    with trainer.device.autocast:
        # The eager module of the same weights: another mode and other shapes would compile again.
        losses = [trainer.eager(trainer.device.put(x), trainer.device.put(y))[1] * x.numel() for x, y in pieces]
    trainer.eager.train()
    return sum(loss.item() for loss in losses) / n


@torch.no_grad()
def random_windows_loss(trainer, tokens):
    """nanoGPT's `estimate_loss` of one part: the mean of 200 random batches, each read as it comes."""
    trainer.eager.eval()
    with trainer.device.autocast:
        losses = [trainer.eager(*trainer.batch(tokens))[1].item() for _ in range(EVAL_BATCHES)]
    trainer.eager.train()
    return statistics.mean(losses)


def product_rate(device, n, seconds):
    """FLOP/s of bf16 products of random n×n matrices, in blocks of ten; their median. Zeros would be faster."""
    a, b = (torch.randn(n, n, device=device.name, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    device.wait()
    rates, started = [], time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - started < seconds:
        from_s = time.perf_counter()
        for _ in range(10):
            a @ b
        device.wait()
        rates.append(10 * 2 * n**3 / (time.perf_counter() - from_s))
    return {"product": n, "flops_per_second": statistics.median(rates), "lowest": min(rates), "highest": max(rates)}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", choices=CONFIGS, default="gpt2")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--mode", default="default", choices=["default", "reduce-overhead"], help="of torch.compile")
    parser.add_argument("--eager", action="store_true", help="no torch.compile")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of the timed part")
    parser.add_argument("--warmup-seconds", type=float, default=1.0, help="after the first step")
    parser.add_argument("--rows-per-pass", type=int, help="sequences in one forward pass (default: all that fit)")
    parser.add_argument("--full", action="store_true", help="train for --steps and validate; needs --text")
    parser.add_argument("--steps", type=int, default=2000, help="length of the schedule")
    parser.add_argument("--text", help="path of tiny Shakespeare (default: random tokens)")
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--product", type=int, metavar="N", help="only time bf16 products of N×N matrices")
    args = parser.parse_args()
    if args.full and not (args.text and CONFIGS[args.config][0].vocab_size == 65 and args.steps > 1):
        parser.error("--full trains a configuration of 65 characters for 2 steps or more, and needs --text")
    if args.rows_per_pass and CONFIGS[args.config][1] % args.rows_per_pass:
        parser.error(f"--rows-per-pass is {args.rows_per_pass}; it must divide the {CONFIGS[args.config][1]} sequences of a step")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {args.device}: torch {torch.__version__} sees no CUDA device")
    return args


def measured(args):
    if args.product:
        return product_rate(Device(args.device), args.product, args.seconds)
    config, n_seq = CONFIGS[args.config]
    training, validation = torch.randint(config.vocab_size, (1 << 20,)), None
    if args.text and config.vocab_size == 65:
        training, validation = read_tokens(args.text)
    trainer, first = fitting(args, training)
    rest = train_in_full(trainer, validation) if args.full else time_steps(trainer, args.seconds, args.warmup_seconds)
    return {
        "config": args.config,
        "compiled": not args.eager and args.mode,
        "parameters": sum(p.numel() for p in trainer.parameters),
        "flops_per_token": flops_per_token(config),
        "rows": n_seq,
        "rows_per_pass": trainer.rows_per_pass,
        **first,
        **rest,
        "memory_mb": trainer.device.memory_mb(),
    }


def main():
    args = parse()
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(args.seed)
    about = {"schema": "windtunnel.gpu_peer.v1", "torch": torch.__version__, "cuda": torch.version.cuda, "device": args.device}
    print(json.dumps({**about, **measured(args), "seconds": time.perf_counter() - STARTED}))


if __name__ == "__main__":
    main()
