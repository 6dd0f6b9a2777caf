"""The table of speeds: ours and PyTorch's in turn (ours, theirs, ours, theirs), ratios of one run on one device.

The order is by what each costs: what is short comes first, and the study, which takes what is left of the budget, last.
A measurement that no longer fits is left out by name; a study that does not fit is cut in steps, on both sides alike.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

from process import HERE, ROOT, NoTime, Unmeasured, end
from report import (
    FAILED, SKIPPED, Row, longest_study, product_flops, ratio, share_of_product_rate, shell_loop_seconds,
)

PART = "speed"
PUBLISHED = ROOT / "configs" / "recipes" / "shakespeare_char.toml"
STUDY = ROOT / "configs" / "studies" / "shakespeare_gpu_lr.toml"
N_RUNS, STUDY_STEPS = 16, [2000, 1000, 500]
PRODUCT = 8192
# What follows a measurement keeps so much of the budget, so that a second round never costs a whole row.
RESERVED_S = {"gpt2": 260.0, "baby": 150.0}

# Ours and PyTorch's names of a shape.
SHAPES = {"gpt2": ("gpt2", "gpt2"), "baby": ("b", "baby"), "micro": ("a", "micro")}
SMOKE = {"gpt2": ("a", "tiny"), "baby": ("a", "tiny"), "micro": ("a", "tiny")}
SMOKE_RECIPE = [
    "model.n_layer=1", "model.n_embd=64", "model.n_head=2", "model.block_size=64",
    "batch.rows=4", "batch.rows_per_pass=4", "budget.steps=2", "eval.every=2",
]


def check(at):
    speed = Speed(at)
    blocks = [
        (speed.gpt2, ["gpt2: ours to PyTorch", "gpt2: share of the product rate"]),
        (speed.pack, ["pack: sixteen at once to one after another"]),
        (speed.start, ["start to first step"]),
        (speed.published, ["shakespeare_char: best validation loss", "shakespeare_char: seconds"]),
        (speed.baby, ["baby: ours to PyTorch"]),
        (speed.study, ["study: the shell loop's time to ours"]),
    ]
    for block, names in blocks:
        before = len(speed.rows)
        try:
            if at.no_device:
                raise Unmeasured(at.no_device)
            block()
        except NoTime as lack:
            state, reason = SKIPPED, f"no time: {lack}"
        except Unmeasured as words:
            state, reason = FAILED, str(words)
        else:
            state, reason = SKIPPED, speed.no_peer or "a number that it needs was not measured"
        told = {row.name for row in speed.rows[before:]}
        speed.rows += [Row.without(PART, name, state, reason) for name in names if name not in told]
        at.save(speed.rows)
    return speed.rows


class Speed:
    """The measurements in turn; what one found the next may use."""

    def __init__(self, at):
        self.at, self.rows = at, []
        self.shapes = SMOKE if at.smoke else SHAPES
        # Why PyTorch takes no part, or None.
        self.no_peer = at.no_peer
        # Of a shape that PyTorch's side could not train: a row's state and reason.
        self.lacking = {}
        self.product_rates, self.packed_rate, self.loop = [], None, None

    def tell(self, name, value, unit, **detail):
        self.rows.append(Row.of(PART, name, value, unit, detail, judged=not self.at.smoke))

    # What is run.

    def ours(self, shape, pack=1, seconds=3.0, at_least_s=10.0):
        """Our bench of a shape; tokens per second of all the models packed."""
        seconds = 0.2 if self.at.smoke else seconds
        pack = min(pack, 3) if self.at.smoke else pack
        command = [self.at.windtunnel, "bench", "--config", self.shapes[shape][0], "--pack", pack]
        command += ["--seconds", seconds, "--json", *self.at.flags]
        return self.at.shell.measure(command, self.at.clock.limit(60.0, at_least_s))

    def theirs(self, shape, *arguments, limit_s=150.0, at_least_s=30.0):
        """PyTorch on the same shape."""
        command = [self.at.python, HERE / "nanogpt_cuda.py", "--config", self.shapes[shape][1], *arguments]
        command += ["--device", "cpu", "--eager"] if self.at.smoke else ["--device", self.at.device]
        # Compiled code is kept where nobody else's is, so that the first of a kind does compile.
        environment = {"TORCHINDUCTOR_CACHE_DIR": f"{self.at.scratch.name}/inductor"}
        environment |= {"OMP_NUM_THREADS": "1"} if self.at.smoke else {}
        return self.at.shell.measure(command, self.at.clock.limit(limit_s, at_least_s), environment)

    def in_turn(self, shape, theirs, rounds=2):
        """Ours, theirs, ours, theirs; after the first round only while the rows that follow keep their time."""
        found = ([], [])
        for round_idx in range(rounds):
            if round_idx > 0 and self.at.clock.left() < RESERVED_S[shape] + found_seconds(found):
                break
            found[0].append(self.ours(shape))
            if self.no_peer or shape in self.lacking:
                continue
            try:
                found[1].append(theirs(round_idx))
            except NoTime as lack:
                self.lacking[shape] = (SKIPPED, f"no time: {lack}")
            except Unmeasured as words:
                self.lacking[shape] = (FAILED, str(words))
        return found

    def contest(self, shape, found):
        """Rows of both sides' rates and of their ratio, from the records of the rounds."""
        if shape in self.lacking:
            self.rows.append(Row.without(PART, f"{shape}: ours to PyTorch", *self.lacking[shape]))
        mine, other = ([record["tokens_per_second"] for record in records] for records in found)
        self.tell(f"{shape}: ours", statistics.median(mine), "tokens/s", rounds=found[0])
        if other:
            self.tell(f"{shape}: PyTorch", statistics.median(other), "tokens/s", rounds=found[1])
        if other and shape not in self.lacking:
            ratios = ratio(mine, other)
            self.tell(f"{shape}: ours to PyTorch", ratios["ratio_of_medians"], "times", **ratios)

    # The rows.

    def gpt2(self):
        """GPT-2's smallest, and its share of what a large product reaches on this device."""
        if not self.no_peer:
            n = 256 if self.at.smoke else PRODUCT
            seconds = 0.1 if self.at.smoke else 1.0
            try:
                record = self.theirs("gpt2", "--product", n, "--seconds", seconds, limit_s=60.0)
                self.product_rates.append(record["flops_per_second"])
                self.tell(f"bf16 product of {n}, PyTorch", record["flops_per_second"] / 1e12, "TFLOP/s", flops=product_flops(n))
            except Unmeasured as words:
                self.rows.append(Row.without(PART, f"bf16 product of {n}, PyTorch", FAILED, str(words)))
        found = self.in_turn("gpt2", lambda _: self.theirs("gpt2", "--seconds", 0.2 if self.at.smoke else 3.0))
        self.same_size("gpt2", found)
        self.contest("gpt2", found)
        rates = [1e9 * record["peak_gflops"] for record in found[0]]
        self.product_rates += rates
        self.tell("bf16 product, ours", statistics.median(rates) / 1e12, "TFLOP/s")
        record, median = found[0][-1], statistics.median(r["tokens_per_second"] for r in found[0])
        flops = 1e9 * record["gflops"] / record["tokens_per_second"]
        share = share_of_product_rate(median, flops, self.product_rates)
        self.tell("gpt2: share of the product rate", share, "", flops_per_token=flops, product_rates=self.product_rates)

    def same_size(self, shape, found):
        """Both sides train as many parameters."""
        if self.at.smoke or not found[1]:
            return
        mine, other = found[0][0]["parameters"], found[1][0]["parameters"]
        if mine != other:
            raise Unmeasured(f"{shape}: ours has {mine} parameters and PyTorch's {other}: not the same model")

    def pack(self):
        """Sixteen small models in one program against the same one after another: both in our own trainer."""
        packed, alone = [], []
        for _ in range(2):
            packed.append(self.ours("micro", pack=16, seconds=2.0))
            alone.append(self.ours("micro", pack=1, seconds=2.0))
        mine, other = ([record["tokens_per_second"] for record in records] for records in (packed, alone))
        self.tell("pack: sixteen at once", statistics.median(mine), "tokens/s", rounds=packed)
        # One after another they train at the rate of one.
        self.tell("pack: one after another", statistics.median(other), "tokens/s", rounds=alone)
        ratios = ratio(mine, other)
        self.tell("pack: sixteen at once to one after another", ratios["ratio_of_medians"], "times", **ratios)

    def train(self, home, overrides):
        overrides = [*overrides, *(SMOKE_RECIPE if self.at.smoke else ["batch.rows_per_pass=0"])]
        return [self.at.windtunnel, "train", PUBLISHED, *overrides, "--home", home, "--json", *self.at.flags]

    def start(self):
        """From the start of `train` to its first step on disk, with the text read and the device opened."""
        times = []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as home:
                # A save follows the step, and before it the step is written.
                times.append(self.first_record_s(self.train(home, ["checkpoint.every=1"]), Path(home)))
        self.tell("start to first step", statistics.median(times), "s", all=times)

    def first_record_s(self, command, home):
        limit_s = self.at.clock.limit(30.0, 5.0)
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            started = time.monotonic()
            process = self.at.shell.start(command, said, said, self.at.data_environment())
            try:
                while time.monotonic() - started < limit_s:
                    written = next(home.glob("runs/*/metrics.jsonl"), None)
                    if written and "\n" in written.read_text():
                        return time.monotonic() - started
                    if process.poll() is not None:
                        break
                    time.sleep(0.002)
            finally:
                end(process)
            said.seek(0)
            raise Unmeasured(f"no step within {time.monotonic() - started:.0f} s: {said.read().strip()[-400:]}")

    def published(self):
        """nanoGPT's run of its README on a GPU, as our recipe has it: 5,000 steps."""
        with tempfile.TemporaryDirectory() as home:
            record = self.at.shell.measure(self.train(home, []), self.at.clock.limit(90.0, 40.0), self.at.data_environment())
            (metrics,) = Path(home).glob("runs/*/metrics.jsonl")
            evals = [line for line in map(json.loads, metrics.read_text().splitlines()) if line["kind"] == "eval"]
        best = min(evals, key=lambda line: line["loss"])
        detail = {"step": best["step"], "evaluations": [(line["step"], line["loss"]) for line in evals]}
        self.tell("shakespeare_char: best validation loss", best["loss"], "nats", **detail)
        self.tell("shakespeare_char: seconds", record["wall_seconds"], "s", training_seconds=record["cost"]["seconds"])

    def baby(self):
        """The baby GPT's steps; PyTorch's are timed within whole runs of it, which the study's row needs too."""
        packed = self.ours("baby", pack=8)
        self.tell("baby: eight at once", packed["tokens_per_second"], "tokens/s", record=packed)
        self.packed_rate = packed["tokens_per_second"]
        steps = 3 if self.at.smoke else STUDY_STEPS[0]
        found = self.in_turn("baby", lambda _: self.whole_run(steps))
        self.same_size("baby", found)
        self.contest("baby", found)
        self.loop = found[1]
        peer_trains = not self.no_peer and "baby" not in self.lacking
        if peer_trains and self.at.clock.left() > RESERVED_S["baby"] + 60.0:
            graphs = self.theirs("baby", "--mode", "reduce-overhead")
            self.tell("baby: PyTorch with CUDA graphs", graphs["tokens_per_second"], "tokens/s", record=graphs)

    def whole_run(self, steps):
        return self.theirs("baby", "--full", "--steps", steps, "--text", self.at.text(), at_least_s=60.0)

    def study(self):
        """Two arms of eight seeds to their verdict, against sixteen runs of nanoGPT in a shell loop."""
        steps = self.study_steps()
        overrides = [f"budget.steps={steps}", f"eval.every={steps}", f"checkpoint.every={steps}"]
        if self.at.smoke:
            overrides = [*SMOKE_RECIPE, "checkpoint.every=2", "decision.seeds=2", "--exploratory"]
        with tempfile.TemporaryDirectory() as home:
            command = [self.at.windtunnel, "run", STUDY, *overrides, "--home", home, "--json", *self.at.flags]
            record = self.at.shell.measure(command, self.at.clock.limit(600.0), self.at.data_environment())
        arm = record["verdict"]["arms"][0]
        self.tell("study: ours, start to verdict", record["wall_seconds"], "s", steps=steps, verdict=arm["call"])
        if lack := self.loop_lacks():
            self.rows.append(Row.without(PART, "study: the shell loop's time to ours", *lack))
            return
        whole = [shortened(run, steps) for run in self.loop]
        loop_s = shell_loop_seconds(whole[0], whole[-1], N_RUNS)
        evaluations_s = N_RUNS * self.loop[-1]["published_evaluations_seconds"] * steps / self.loop[-1]["steps"]
        how = f"{len(whole)} whole runs were timed: sixteen are the first, whose compiler's cache was empty, and 15 of the last"
        self.tell("study: PyTorch's shell loop", loop_s, "s", how=how, runs=self.loop, steps=steps)
        self.tell("study: the shell loop's time to ours", loop_s / record["wall_seconds"], "times", steps=steps)
        published = (loop_s + evaluations_s) / record["wall_seconds"]
        self.tell("study: the same with nanoGPT's own evaluations", published, "times", evaluations_seconds=evaluations_s)

    def loop_lacks(self):
        """Why the loop's time is not known: a row's state and reason, or None."""
        if "baby" in self.lacking:
            return self.lacking["baby"]
        if self.no_peer or not self.loop:
            return SKIPPED, self.no_peer or "no whole run of PyTorch was timed"
        if len(self.loop) < 2:
            return SKIPPED, "one whole run was timed, which compiled; those that find it compiled were not"
        return None

    def study_steps(self):
        """All 2,000 if they fit what is left at the rate that was measured, else fewer."""
        if self.at.smoke:
            return 2
        if not self.packed_rate:
            raise Unmeasured("the baby GPT's own rate is not known, so neither is what fits the budget")
        tokens_per_step = 64 * 256
        expected = {s: 15.0 + 1.3 * N_RUNS * s * tokens_per_step / self.packed_rate for s in STUDY_STEPS}
        steps = longest_study(self.at.clock.left(), expected)
        if steps is None:
            raise NoTime(f"{self.at.clock.left():.0f} s are left, {expected[STUDY_STEPS[-1]]:.0f} are needed")
        return steps


def found_seconds(found):
    """What the latest round took, on both sides.

    >>> found_seconds(([{"wall_seconds": 5.0}], [{"wall_seconds": 50.0}, {"wall_seconds": 30.0}]))
    35.0
    """
    return sum(records[-1]["wall_seconds"] for records in found if records)


def shortened(run, steps):
    """Seconds of a whole run had it trained for fewer steps: without those, and without the evaluation timed at its end.

    >>> shortened({"wall_seconds": 50.0, "training_seconds": 20.0, "steps": 2000, "one_evaluation_seconds": 2.0}, 1000)
    38.0
    """
    left_out_s = run["training_seconds"] * (1 - steps / run["steps"])
    return run["wall_seconds"] - run["one_evaluation_seconds"] - left_out_s
