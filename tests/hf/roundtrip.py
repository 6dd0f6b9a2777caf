"""Models go to and from Hugging Face's `transformers` and give the same logits.

    cargo build --release
    python -m venv .venv-hf && .venv-hf/bin/pip install torch transformers tokenizers safetensors
    .venv-hf/bin/python tests/hf/roundtrip.py

Trains four tiny models with the binary (seconds), exports them, loads them with AutoModelForCausalLM and
AutoTokenizer, and compares every logit and every id. Makes models of `transformers` with random weights
in several settings, imports them, compares again, exports them, and compares every bit of the weights.
Exit status 1 if one differs. With --full FOLDER (vocab.json and merges.txt of GPT-2, also with a name before them) it measures the
import and evaluation of a GPT-2 of full size instead, on Linux.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
PAGE = (
    "The wind's tunnel: it's 42 °C,\r\n\tthey'll say — naïve, “quoted”…  two spaces, trailing \n\n"
    "Ветер и труба. Ο άνεμος. הרוח בתעלה ١٢٣ الريح. हवा की सुरंग। ลมในอุโมงค์ 風洞で実験する。바람 터널 🙂👩‍👩‍👧 e\u0301\u200d\u00a0\x00\x7f"
    " <|endoftext|> ▁ def f(x):\n    return x**2  # ½ ǅ ﬁ 𝔘𐍈"
)

TRAINED = {
    "gpt2, characters, no biases": """tokenizer = "char"
        [model] n_layer = 2; n_head = 4; n_embd = 32; block_size = 64""",
    "gpt2, bytes, biases, tanh, untied": """tokenizer = "byte"
        [model] n_layer = 2; n_head = 2; n_embd = 48; block_size = 64; bias = true; activation = "gelu_tanh"; tied = false;
        n_inner = 100; norm_eps = 1e-3; dropout = 0.1""",
    "llama, bytes, shared keys, untied": """tokenizer = "byte"
        [model] n_layer = 2; n_head = 4; n_kv_head = 2; n_embd = 32; block_size = 64; norm = "rms"; activation = "swiglu";
        positions = "rotary"; tied = false""",
    "llama, trained BPE, tied, averaged": """tokenizer = "pairs"
        [model] n_layer = 3; n_head = 2; n_embd = 32; block_size = 64; norm = "rms"; activation = "swiglu"; positions = "rotary";
        rope_base = 500000.0; norm_eps = 1e-6
        [eval] ema = 0.9""",
}


class Bench:
    """The binary with a home of its own, and what was compared so far."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.failures = binary, Path(folder), 0
        self.largest = {"logits": 0.0, "nats": 0.0}
        self.cost = {}

    def run(self, *args):
        started = time.time()
        command = [str(self.binary), "--home", str(self.folder / "home"), "--json", *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        self.cost[args[0]] = time.time() - started
        return json.loads(done.stdout)

    def check(self, label, fine, detail):
        self.failures += not fine
        print(f"  {'ok ' if fine else 'NOT'} {label}: {detail}", flush=True)

    def compare(self, run, folder, text):
        """Our run against the folder as transformers reads it: ids, logits, nats."""
        (self.folder / "text.txt").write_bytes(text.encode())
        out = self.folder / "logits.safetensors"
        ours = self.run("eval", run, "--text", self.folder / "text.txt", "--logits", out)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        ids = AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
        self.check("ids", ids == ours["ids"], f"{len(ids)} of {len(ours['ids'])}")
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ours["ids"]])).logits[0]
        difference = (load_file(out)["logits"] - logits).abs().max().item()
        surprise = torch.nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(ours["ids"][1:]), reduction="none")
        of_nats = (torch.tensor(ours["nats"], dtype=torch.float64) - surprise).abs().max().item()
        self.largest = {"logits": max(self.largest["logits"], difference), "nats": max(self.largest["nats"], of_nats)}
        scale = logits.abs().max().item()
        self.check("logits", difference <= TOLERANCE, f"largest difference {difference:.1e}, logits up to {scale:.1f}")
        self.check("nats per token", of_nats <= TOLERANCE, f"largest difference {of_nats:.1e}")
        return model

    def page(self, run, folder):
        """Ids alone of the page, which is longer than a block."""
        (self.folder / "page.txt").write_bytes(PAGE.encode())
        ours = self.run("eval", run, "--text", self.folder / "page.txt")["ids"]
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(PAGE)["input_ids"]
        self.check("ids of a page in many scripts", ids == ours, f"{len(ids)} of {len(ours)}")
        self.check("the page comes back from them", tokenizer.decode(ids) == PAGE, f"{len(PAGE)} characters")


def export_ours(bench):
    bench.run("tokenizer", "train", "pairs", "--vocab-size", 300, "--corpora", "tales")
    for idx, (label, settings) in enumerate(TRAINED.items()):
        print(label)
        data, *tables = settings.split("[")
        lines = [f'[data]\nmixture = [{{ corpus = "tales" }}]\n{data}', "[batch]\nrows = 8", "[budget]\nsteps = 150", "[optimizer]\nlr = 5e-3"]
        lines += ["[" + table.replace("] ", "]\n").replace(";", "\n") for table in tables]
        recipe = bench.folder / f"{idx}.toml"
        recipe.write_text("\n".join(line.strip() for part in lines for line in part.splitlines()))
        run = bench.run("train", recipe, "eval.every=0", "eval.windows=8")["trial"]
        folder = bench.folder / f"ours-{idx}"
        bench.run("export", run, "--to", "hf", "--out", folder)
        bench.compare(run, folder, "Once upon a time the old wind was lost")
        if "char" not in data:
            bench.page(run, folder)
        again = bench.run("import", folder, f"again-{idx}")["run"]
        bench.compare(again, folder, "Once upon a time the old wind was lost")
        if "ema" in settings:
            averaged = bench.folder / f"averaged-{idx}"
            bench.run("export", run, "--to", "hf", "--out", averaged, "--ema")
            weights = [load_file(f / "model.safetensors")["model.norm.weight"] for f in (folder, averaged)]
            bench.check("the average is another model", not torch.equal(*weights), "--ema")
            bench.compare(bench.run("import", averaged)["run"], averaged, "Once upon a time")


def byte_pairs(size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([PAGE] * 3, trainer)
    return bpe


def randomise(model, generator):
    """Far from the usual start: no gain is 1, no bias 0."""
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            spread = 1.5 * parameter.shape[-1] ** -0.5
            parameter.copy_(spread * noise if parameter.ndim >= 2 else 0.8 + 0.3 * noise)


def theirs():
    small = {"n_layer": 3, "n_head": 4, "n_embd": 64, "n_positions": 96, "bos_token_id": None, "eos_token_id": None}
    llama = {
        "num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 64, "intermediate_size": 176,
        "max_position_embeddings": 96, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    old = int(transformers.__version__.split(".")[0]) < 5
    theta = {"rope_theta": 5e5} if old else {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    shards = {"max_shard_size": "60KB"}
    odd = {"n_inner": 100, "layer_norm_epsilon": 3e-3, "activation_function": "gelu", "tie_word_embeddings": False}
    return [
        ("gpt2, as it comes", GPT2LMHeadModel(GPT2Config(vocab_size=400, **small)), torch.float32, {}),
        ("gpt2, odd width and epsilon, untied, f16", GPT2LMHeadModel(GPT2Config(vocab_size=400, **small, **odd)), torch.float16, {}),
        ("gpt2, padded rows, shards", GPT2LMHeadModel(GPT2Config(vocab_size=448, **small)), torch.float32, shards),
        ("llama, as it comes", LlamaForCausalLM(LlamaConfig(vocab_size=400, **llama)), torch.float32, {}),
        ("llama, shared keys, tied, theta", LlamaForCausalLM(LlamaConfig(vocab_size=400, num_key_value_heads=2,
            tie_word_embeddings=True, **theta, **llama)), torch.float32, {}),
        ("llama, one key head, odd epsilon, bf16, shards", LlamaForCausalLM(LlamaConfig(vocab_size=400,
            num_key_value_heads=1, rms_norm_eps=4e-3, **llama)), torch.bfloat16, shards),
    ]  # fmt: skip


def import_theirs(bench):
    bpe = byte_pairs(400)
    generator = torch.Generator().manual_seed(7)
    for idx, (label, model, dtype, how) in enumerate(theirs()):
        print(label)
        randomise(model, generator)
        folder = bench.folder / f"theirs-{idx}"
        model.to(dtype).save_pretrained(folder, **how)
        if idx == 0:
            bpe.model.save(str(folder))
        else:
            PreTrainedTokenizerFast(tokenizer_object=bpe).save_pretrained(folder)
        imported = bench.run("import", folder)
        run = imported["run"]
        print("".join(f"      {note}\n" for note in imported["notes"]), end="")
        if idx == 0:
            # vocab.json and merges.txt alone: which tokenizer transformers makes of them is its affair.
            PreTrainedTokenizerFast(tokenizer_object=bpe).save_pretrained(folder)
        bench.compare(run, folder, PAGE[:90])
        bench.page(run, folder)
        back = bench.folder / f"back-{idx}"
        bench.run("export", run, "--to", "hf", "--out", back)
        before = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
        after = AutoModelForCausalLM.from_pretrained(back).state_dict()
        same = before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
        bench.check("weights after export", same, f"{len(before)} tensors, bit for bit")
        bench.run("sample", run, "--prompt", "The wind", "--tokens", 5)


def full(bench, files):
    """A GPT-2 of the first size with random weights, and GPT-2's own tokenizer."""
    folder = bench.folder / "gpt2"
    torch.manual_seed(1)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        found = [f for f in Path(files).iterdir() if f.name.endswith(name)]
        (folder / name).write_bytes(found[0].read_bytes())
    size = (folder / "model.safetensors").stat().st_size
    imported = bench.run("import", folder)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"{imported['origin']['parameters']} parameters, a file of {size / 1e6:.0f} MB")
    print(f"import: {bench.cost['import']:.1f} s, peak memory {peak / 1e6:.0f} MB, {peak / size:.2f} times the file")
    # From vocab.json and merges.txt ours has no special tokens.
    bench.compare(imported["run"], folder, PAGE.replace(" <|endoftext|>", ""))
    record = bench.run("eval", imported["run"], "--corpus", "sums", "--windows", 8)
    tokens = record["val"]["sums"]["tokens"]
    print(f"eval: {tokens} tokens in {bench.cost['eval']:.1f} s, {tokens / bench.cost['eval']:.0f} tokens/s with loading")
    print(f"      {record['loss']:.3f} nats per token, ln {imported['vocabulary']} is {torch.tensor(imported['vocabulary']).log():.3f}")
    bench.run("sample", imported["run"], "--prompt", "The wind", "--tokens", 20)
    print(f"sample: 20 tokens in {bench.cost['sample']:.1f} s with loading")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"peak memory of all of them: {peak / 1e6:.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/windtunnel")
    parser.add_argument("--full", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    versions = {"torch": torch, "transformers": transformers, "tokenizers": tokenizers}
    print(f"python {platform.python_version()}", *(f"{name} {module.__version__}" for name, module in versions.items()))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args.binary.resolve(), folder)
        if args.full:
            full(bench, args.full)
        else:
            export_ours(bench)
            import_theirs(bench)
    print(f"largest difference: {bench.largest['logits']:.1e} in logits, {bench.largest['nats']:.1e} in nats; bound {TOLERANCE:.0e}")
    sys.exit(f"{bench.failures} of the checks failed" if bench.failures else 0)


if __name__ == "__main__":
    main()
