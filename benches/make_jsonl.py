"""Writes JSON lines to measure ingestion with: python benches/make_jsonl.py FILE GIGABYTES

Every row is another text of 60 to 900 words; the same arguments give the same bytes.
"""

import json
import random
import sys

WORDS = (
    "river stone light the of and a to in was people because naïve city water 1999 study found "
    "that learning"
).split()


def main(path, gigabytes):
    random.seed(1)
    bodies = []
    for _ in range(4000):
        text = " ".join(random.choice(WORDS) for _ in range(random.randint(60, 900)))
        bodies.append(json.dumps(text, ensure_ascii=False)[1:])
    size = row = 0
    with open(path, "w", buffering=1 << 22) as out:
        while size < gigabytes * 1e9:
            body = bodies[row * 7919 % len(bodies)]
            line = f'{{"id": {row}, "text": "Page {row}. {body}, "url": "http://x/{row}"}}\n'
            out.write(line)
            size += len(line)
            row += 1


main(sys.argv[1], float(sys.argv[2]))
