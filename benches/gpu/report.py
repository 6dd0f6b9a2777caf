"""What was measured, what it should have been, and how both are printed. Pure arithmetic: no process, no clock.

`python3 -m doctest benches/gpu/report.py` tries the examples.
"""

import statistics
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Optional

SCHEMA = "windtunnel.gpu_check.v1"
OK, FAILED, SKIPPED = "ok", "failed", "skipped"
PARTS = ["parity", "faults", "speed"]


@dataclass(frozen=True)
class Target:
    """What a number must reach.

    >>> Target("at least", 1.2).holds(1.2), Target("at most", 2.0).holds(2.1), Target("within", (1.46, 1.49)).holds(1.47)
    (True, False, True)
    >>> Target("at least", 1.2).holds(float("nan"))
    False
    """

    sense: str
    bound: object

    def holds(self, measured):
        if self.sense == "at least":
            return measured >= self.bound
        if self.sense == "at most":
            return measured <= self.bound
        low, high = self.bound
        return low <= measured <= high

    def __str__(self):
        """
        >>> str(Target("within", (1.46, 1.49))), str(Target("at least", 2))
        ('1.46 to 1.49', 'at least 2')
        """
        if self.sense == "within":
            return f"{self.bound[0]:g} to {self.bound[1]:g}"
        return f"{self.sense} {self.bound:g}"


# What must hold, by the name of the row that shows it.
TARGETS = {
    "gpt2: ours to PyTorch": Target("at least", 1.2),
    "gpt2: share of the product rate": Target("at least", 0.5),
    "baby: ours to PyTorch": Target("at least", 2.0),
    "pack: sixteen at once to one after another": Target("at least", 5.0),
    "study: the shell loop's time to ours": Target("at least", 6.0),
    "shakespeare_char: best validation loss": Target("within", (1.46, 1.49)),
    "shakespeare_char: seconds": Target("at most", 60.0),
    "start to first step": Target("at most", 2.0),
}


@dataclass
class Row:
    """One line of the report.

    >>> Row.of("speed", "start to first step", 1.5, "s").state
    'ok'
    >>> row = Row.of("speed", "start to first step", 2.5, "s")
    >>> row.state, row.reason
    ('failed', '2.5 s is not at most 2')
    >>> Row.of("speed", "start to first step", 2.5, "s", judged=False).state
    'ok'
    >>> Row.of("speed", "start to first step", float("nan"), "s").reason
    'nan s is not at most 2'
    """

    part: str
    name: str
    state: str
    measured: Optional[float] = None
    unit: str = ""
    target: Optional[str] = None
    reason: Optional[str] = None
    detail: dict = field(default_factory=dict)

    @classmethod
    def of(cls, part, name, value, unit, detail=None, judged=True):
        """A number, held to its target where it has one; `judged=False` where the sizes are not the target's."""
        target = TARGETS.get(name) if judged else None
        row = cls(part, name, OK, value, unit, str(target) if target else None, None, detail or {})
        if target and not target.holds(value):
            row.state, row.reason = FAILED, f"{number(value)} {unit} is not {target}".replace("  ", " ")
        return row

    @classmethod
    def without(cls, part, name, state, reason, detail=None):
        """A line that has no number, and why."""
        target = TARGETS.get(name)
        return cls(part, name, state, None, "", str(target) if target else None, reason, detail or {})


def number(value):
    """
    >>> number(412345.6), number(1.23456), number(0.5012), number(12.34)
    ('412,346', '1.235', '0.501', '12.3')
    """
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}".rstrip("0").rstrip(".") or "0"


def ratio(ours, theirs):
    """Of medians, and of the rounds: ours against theirs of the same round.

    >>> ratio([100.0, 110.0, 90.0], [50.0, 50.0, 60.0])
    {'ratio_of_medians': 2.0, 'lowest_round': 1.5, 'highest_round': 2.2}
    >>> ratio([100.0], [])
    Traceback (most recent call last):
    ...
    ValueError: a ratio needs a measurement on both sides: 1 against 0
    """
    if not ours or not theirs:
        raise ValueError(f"a ratio needs a measurement on both sides: {len(ours)} against {len(theirs)}")
    by_round = [mine / other for mine, other in zip(ours, theirs)]
    return {
        "ratio_of_medians": statistics.median(ours) / statistics.median(theirs),
        "lowest_round": min(by_round),
        "highest_round": max(by_round),
    }


def product_flops(n):
    """Of a product of two n×n matrices.

    >>> product_flops(8192)
    1099511627776
    """
    return 2 * n**3


def share_of_product_rate(tokens_per_second, flops_per_token, product_rates):
    """A step's FLOP/s over those of a large product: of the fastest that anybody measured, so that the share is not
    flattered by a slow one.

    >>> share_of_product_rate(400e3, 854.4e6, [600e12, 683.52e12])
    0.5
    """
    return tokens_per_second * flops_per_token / max(product_rates)


def shell_loop_seconds(first_s, later_s, n_runs):
    """A loop of runs, from its first, whose compiler's cache is empty, and one that finds it full.

    >>> shell_loop_seconds(60.0, 40.0, 16)
    660.0
    """
    return first_s + (n_runs - 1) * later_s


def longest_study(left_s, seconds_by_steps):
    """The most steps whose time is left, or None.

    >>> longest_study(150.0, {2000: 200.0, 1000: 110.0, 500: 60.0})
    1000
    >>> longest_study(30.0, {2000: 200.0, 1000: 110.0, 500: 60.0}) is None
    True
    """
    fitting = [steps for steps, seconds in seconds_by_steps.items() if seconds <= left_s]
    return max(fitting, default=None)


def counts(rows):
    """
    >>> counts([Row("speed", "a", OK), Row("speed", "b", FAILED), Row("parity", "c", OK)])
    {'ok': 2, 'failed': 1, 'skipped': 0}
    """
    return {state: sum(row.state == state for row in rows) for state in (OK, FAILED, SKIPPED)}


def as_json(rows, about):
    """The report as one object; `about` is the machine, versions, arguments and times.

    >>> as_json([Row("speed", "a", OK, 1.0)], {"smoke": True})["rows"][0]["measured"]
    1.0
    """
    return {"schema": SCHEMA, **about, "counts": counts(rows), "rows": [finite(asdict(row)) for row in rows]}


def finite(value):
    """JSON has no NaN and no infinity: they become words.

    >>> finite({"a": [float("nan"), 1.0], "b": float("inf")})
    {'a': ['nan', 1.0], 'b': 'inf'}
    """
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def as_text(rows, about):
    """The report for people: what failed in full, what went well a line each, parity's tests as a count."""
    found = counts(rows)
    lines = [
        f"{found[OK]} ok, {found[FAILED]} failed, {found[SKIPPED]} skipped"
        f" in {about['seconds']:.0f} s of {about['seconds_budget']:.0f}",
        *(["smoke: tiny shapes on a CPU, no number means anything"] if about["smoke"] else []),
        *(f"{name:10} {value}" for name, value in about["machine"].items() if value not in (None, "")),
        *(f"{name:10} {value}" for name, value in about["versions"].items() if value not in (None, "")),
    ]
    for part in PARTS:
        own = [row for row in rows if row.part == part]
        if own:
            lines += ["", *part_lines(part, own)]
    return "\n".join(lines) + "\n"


def part_lines(part, rows):
    """Lines of one part; many rows that fail for one reason are told as one.

    >>> lines = part_lines("parity", [Row("parity", "a", OK), Row("parity", "b", FAILED, reason="x")])
    >>> lines += part_lines("parity", [Row("parity", name, FAILED, reason="no device") for name in "abcd"])
    >>> print("\\n".join(lines))
    parity: 1 of 2 ok
      FAILED   b
               x
    parity: 0 of 4 ok
      FAILED   4 of them
               no device
    """
    lines = [f"{part}: {counts(rows)[OK]} of {len(rows)} ok"]
    alike = Counter((row.state, row.reason) for row in rows if row.reason)
    told = set()
    for row in rows:
        why = (row.state, row.reason)
        if (part == "parity" and row.state == OK) or why in told:
            continue
        if alike[why] > 3:
            told.add(why)
        mark = row.state if row.state == OK else row.state.upper()
        name = f"{alike[why]} of them" if why in told else row.name
        value = "" if row.measured is None or why in told else f"{number(row.measured)} {row.unit}".rstrip()
        target = f"({row.target})" if row.target and why not in told else ""
        lines.append(f"  {mark:8} {name:52} {value:>18} {target}".rstrip())
        if row.reason:
            lines += [f"           {line}" for line in row.reason.splitlines()]
    return lines
