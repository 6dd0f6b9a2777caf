"""Does `windtunnel data clean` find planted near duplicates, and what does it cost?

    cargo build --release
    python3 benches/clean.py                      # about two minutes on two cores
    python3 benches/clean.py --shingles           # how alike copies and strangers are, by kind of shingle

Recall and precision: of each kind of text, copies of 300 documents with 5 or 10% of their words edited (a third
each replaced, left out, followed by another) are planted among documents of another kind, or of their own. A copy
is found when one of the pair goes and the other stays. Precision counts the planted pairs alone: documents that
are naturally alike count as wrong (how many there are is said). Tiny Shakespeare is there when WINDTUNNEL_MIRROR or the network has it.
"10+ words" leaves out shorter documents, of which one edited word is more than a tenth.

Cost: made-up web pages with 10% exact and 10% near duplicates, 10 and 100 MB of them, and as many pages as the
former that are ten times as long. Memory is the largest resident set, as the system counted it.

Text on stderr, one JSON object on stdout. Needs nothing outside Python's own library. Exit status 1 when a recall
or a precision among strangers is below 0.95, or 100 MB take more than a minute.
"""

import argparse
import itertools
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT_IN = ["tales", "facts", "sums", "programs"]
PLANTED = 300


def run(binary, folder, *args):
    """Runs a command: what it printed, its seconds, and the most bytes it held."""
    command = [binary, *args, "--json", "--home", "home"]
    started = time.monotonic()
    with open(folder / "stdout", "w") as out, open(folder / "stderr", "w") as err:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if status != 0:
        raise RuntimeError(f"{' '.join(command)}: {(folder / 'stderr').read_text()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return json.loads((folder / "stdout").read_text()), seconds, usage.ru_maxrss * unit


def texts(binary, folder):
    """Documents by kind of text."""
    kinds = {}
    for name in BUILT_IN:
        run(binary, folder, "data", "synth", name, f"{name}.txt", "--bytes", "600000")
        kinds[name] = (folder / f"{name}.txt").read_text()
    try:
        path = run(binary, folder, "data", "fetch", "tinyshakespeare")[0]["path"]
        kinds["shakespeare"] = (folder / path).read_text()
    except RuntimeError as error:
        print(f"without tiny Shakespeare: {error}", file=sys.stderr)
    cut = {name: [d for d in re.split(r"\n\n+", text) if d.strip()] for name, text in kinds.items()}
    if "shakespeare" in cut:
        cut["shakespeare, 10+ words"] = [d for d in cut["shakespeare"] if len(d.split()) >= 10]
    return {name: list(dict.fromkeys(documents)) for name, documents in cut.items()}


def edited(text, rate, vocabulary, rng):
    pieces = re.split(r"(\s+)", text)
    places = [i for i, piece in enumerate(pieces) if piece.strip()]
    for i in rng.sample(places, max(1, round(rate * len(places)))):
        how = rng.randrange(3)
        other = rng.choice(vocabulary)
        pieces[i] = [other, "", f"{pieces[i]} {other}"][how]
    return "".join(pieces)


def cleaned(binary, folder, documents):
    """What stays of documents."""
    (folder / "raw.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in documents))
    run(binary, folder, "data", "add", "raw.jsonl", "raw")
    record = run(binary, folder, "data", "clean", "raw", "clean", "--dedup", "exact,near")[0]
    kept = []
    for part in ["train", "test", "validation"]:
        with open(folder / "home" / "clean" / "clean" / f"{part}.jsonl") as rows:
            kept += [json.loads(row)["text"].strip() for row in rows]
    assert sum(record["documents"]["kept"].values()) == len(kept)
    return kept


def naturally_alike(binary, documents):
    """Documents of a kind that go where nothing was planted."""
    with tempfile.TemporaryDirectory() as name:
        return len(documents) - len(cleaned(binary, Path(name), documents))


def planted(binary, kinds, kind, host, rate):
    """Recall and precision of copies of `kind` among documents of `host`."""
    rng = random.Random(f"{kind} {host} {rate}")
    documents = rng.sample(kinds[kind], len(kinds[kind]))
    vocabulary = " ".join(documents).split()
    n = min(PLANTED, len(documents) // 3)
    others = documents if kind == host else documents[:n] + kinds[host][:1500]
    pairs, everything = {}, list(others)
    for i, document in enumerate(documents[:n]):
        copy = edited(document, rate, vocabulary, rng).strip()
        pairs[document.strip()], pairs[copy] = i, i
        everything.append(copy)
    rng.shuffle(everything)
    with tempfile.TemporaryDirectory() as name:
        kept = cleaned(binary, Path(name), everything)
    left = [0] * n
    for text in kept:
        if text in pairs:
            left[pairs[text]] += 1
    found = left.count(1)
    removed = len(everything) - len(kept)
    return {
        "kind": kind, "host": host, "edits": rate, "planted": n, "removed": removed,
        "recall": found / n, "precision": found / max(1, removed),
    }


def pages(path, n_pages, words_each):
    """Pages of made-up words whose frequencies fall as natural ones do; their bytes."""
    rng = random.Random(7)
    syllables = ["".join(s) for s in itertools.product("bdfgklmnprstv", "aeiou")]
    vocabulary = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(20000)]
    cumulative = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(vocabulary))))
    before = []
    with open(path, "w") as out:
        for page in range(n_pages):
            if before and page % 10 == 0:
                text = rng.choice(before)
            elif before and page % 10 == 5:
                text = edited(rng.choice(before), rng.uniform(0.02, 0.1), vocabulary, rng)
            else:
                n_words = rng.randint(words_each // 3, 5 * words_each // 3)
                text = " ".join(rng.choices(vocabulary, cum_weights=cumulative, k=n_words))
                if len(before) < 2000:
                    before.append(text)
            out.write(json.dumps({"text": text}) + "\n")
    return path.stat().st_size


def cost(binary, what, n_pages, words_each):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = pages(folder / "web.jsonl", n_pages, words_each)
        run(binary, folder, "data", "add", "web.jsonl", "web")
        record, seconds, held = run(binary, folder, "data", "clean", "web", "clean", "--dedup", "exact,near", "--filter", "prose", "--against", "tales")
    kept = sum(record["documents"]["kept"].values())
    row = {
        "what": what, "bytes": size, "documents": n_pages, "kept": kept, "seconds": seconds, "peak_bytes": held,
        "index_bytes_per_document": record["index_bytes"] / kept,
        "removed": {r["transform"]: sum(r["documents"].values()) for r in record["removed"]},
    }
    print(
        f"{what:24} {size / 1e6:6.1f} MB {n_pages:7} pages {seconds:6.1f} s {held / 2**20:6.0f} MiB; index {row['index_bytes_per_document']:.0f} bytes a document; removed {row['removed']}",
        file=sys.stderr, flush=True,
    )
    return row


def shingles(kinds):
    """Likeness of copies and of natural neighbours, by kind of shingle; a minute or two of plain Python."""
    def words(text):
        return re.findall(r"[^\W_]+", text.lower())

    def of_words(n, text):
        w = words(text)
        return {tuple(w[i:i + n]) for i in range(max(1, len(w) - n + 1))}

    def of_characters(n, text):
        s = " ".join(words(text))
        return {s[i:i + n] for i in range(max(1, len(s) - n + 1))}

    def pairs_with_borders(text):
        w = ["", *words(text), ""]
        return set(zip(w, w[1:]))

    ways = {"pairs with borders": pairs_with_borders}
    ways |= {f"{n} words": (lambda text, n=n: of_words(n, text)) for n in (1, 2, 3, 5)}
    ways |= {f"{n} characters": (lambda text, n=n: of_characters(n, text)) for n in (5, 8)}

    def jaccard(a, b):
        return len(a & b) / len(a | b)

    rows = []
    print(f"{'text':24} {'shingle':20} natural neighbour p95; copies with 10% edits p5, median", file=sys.stderr)
    for kind, documents in kinds.items():
        rng = random.Random(kind)
        documents = rng.sample(documents, min(600, len(documents)))
        vocabulary = " ".join(documents).split()
        copies = [edited(d, 0.1, vocabulary, rng) for d in documents[:300]]
        for way, shingled in ways.items():
            sets = [shingled(d) for d in documents]
            natural = sorted(max(jaccard(sets[i], s) for k, s in enumerate(sets) if k != i) for i in range(60))
            alike = sorted(jaccard(sets[i], shingled(copy)) for i, copy in enumerate(copies))
            rows.append({"text": kind, "shingle": way, "natural_p95": natural[56], "copy_p5": alike[15], "copy_median": alike[150]})
            print(f"{kind:24} {way:20} {natural[56]:.2f}; {alike[15]:.2f}, {alike[150]:.2f}", file=sys.stderr, flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "windtunnel"))
    parser.add_argument("--shingles", action="store_true", help="compare kinds of shingles instead; no index takes part")
    parser.add_argument("--json-file", help="also write the JSON here")
    args = parser.parse_args()
    binary = str(Path(args.binary).resolve())
    if not Path(binary).exists():
        parser.error(f"--binary {binary}: no such file; build it with cargo build --release")
    with tempfile.TemporaryDirectory() as name:
        kinds = texts(binary, Path(name))
    result = {"schema": "windtunnel.clean_bench.v1", "machine": platform.platform(), "cores": os.cpu_count()}
    bad = []
    if args.shingles:
        result["shingles"] = shingles(kinds)
    else:
        result["planted"], result["naturally_alike"] = [], {}
        for kind in kinds:
            alike = naturally_alike(binary, kinds[kind])
            result["naturally_alike"][kind] = {"documents": len(kinds[kind]), "removed": alike}
            print(f"{kind}: of {len(kinds[kind])} documents, {alike} are naturally so alike to another", file=sys.stderr)
            stranger = "facts" if kind == "tales" else "tales"
            for host, rate in itertools.product([stranger, kind], [0.05, 0.1]):
                r = planted(binary, kinds, kind, host, rate)
                result["planted"].append(r)
                print(f"{kind:24} among {host:24} {100 * rate:3.0f}% edits: recall {r['recall']:.3f}, precision {r['precision']:.3f}", file=sys.stderr, flush=True)
                if host == stranger and min(r["recall"], r["precision"]) < 0.95:
                    bad.append(f"{kind} at {rate}")
        result["cost"] = [
            cost(binary, "10 MB", 12_000, 150),
            cost(binary, "as many, ten times longer", 12_000, 1500),
            cost(binary, "100 MB", 120_000, 150),
        ]
        bad += [row["what"] for row in result["cost"] if row["seconds"] > 60]
    packed = json.dumps(result, indent=2)
    print(packed)
    if args.json_file:
        Path(args.json_file).write_text(packed + "\n")
    if bad:
        sys.exit(f"below what is promised: {', '.join(bad)}")


if __name__ == "__main__":
    main()
