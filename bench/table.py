"""The table of bench/run, and its results in one JSON file.

table.py DIRECTORY OUTPUT reads the comparisons in DIRECTORY and writes to OUTPUT
  { format: 1, date, machine, load_average: [3], rows: [ROW], not_measured: [{ measure, why }] }
  ROW = { measure, key, relation, target, ratio, noise, met, study }
`met` is null where the control strayed too far from 1 for any judgement. `ratio` and `noise` have min, q1, median, q3 and max: of the measured one and of the control. `study`
is what `holdfast bench compare --json` printed, or null.
"""

import datetime
import json
import os
import pathlib
import sys

# Where the control's quartiles stray from 1 by a larger factor, the machine was not quiet enough to tell.
NOISE_MAX = 1.15

# What the target table asks for beside that, and why it is not here.
NOT_MEASURED = {
    "L_disk on a file volume": "its floor is the sum of an echo and a polled disk, which no one run compares yet",
    "the slowest of 128 sessions, against the mean": "bursts are counted by volume, not by session",
    "memory per idle session and volume": "no comparison of two candidates",
    "two reactors with shards spread, against one": "needs more cores than one server and one client",
}


def read_row(path):
    name, key, relation, target = path.read_text().rstrip("\n").split("\t")
    row = {"measure": name, "key": key, "relation": relation, "target": float(target)}
    result = path.with_suffix(".json")
    if not result.exists():
        return row, path.with_suffix(".error").read_text().strip() or "the comparison failed"
    study = json.loads(result.read_text())
    control = next(line for line in study["lines"] if line["role"] == "control")
    candidate = study["lines"][-1]
    row |= {
        "ratio": candidate["measures"][key]["ratio"],
        "noise": control["measures"][key]["ratio"],
        "study": study,
    }
    return row, None


def read_registrants(path):
    """The two lines that `cargo bench --bench registrants` ends with: names, A, B, B/A in time."""
    ratios = {}
    for line in path.read_text().splitlines():
        words = line.split()
        if line.startswith("none /"):
            # Time per read; the target is in IOPS.
            ratios["control" if "(control)" in line else "ratio"] = 1 / float(words[-1])
    spread = lambda ratio: {key: ratio if key == "median" else None for key in ("min", "q1", "median", "q3", "max")}
    return {
        "measure": "1024 registrants against none, R4K 1×32",
        "key": "iops",
        "relation": ">=",
        "target": 0.99,
        "ratio": spread(ratios["ratio"]),
        "noise": spread(ratios["control"]),
        "study": None,
    }


def spread(ratio):
    text = f"{ratio['median']:.3f}"
    return text if ratio["q1"] is None else f"{text} ({ratio['q1']:.3f}–{ratio['q3']:.3f})"


def judge(row):
    """Whether the target is met; None where the noise forbids to say."""
    strays = [value for value in (row["noise"][key] for key in ("q1", "median", "q3")) if value is not None]
    if any(max(value, 1 / value) > NOISE_MAX for value in strays):
        return None
    ratio, target = row["ratio"]["median"], row["target"]
    return ratio >= target if row["relation"] == ">=" else ratio <= target


def main(directory, output):
    rows, not_measured = [], []
    for path in sorted(directory.glob("*.row")):
        row, why = read_row(path)
        if why:
            not_measured.append({"measure": row["measure"], "why": why})
        else:
            rows.append(row)
    registrants = directory / "registrants.txt"
    if registrants.exists():
        rows.append(read_registrants(registrants))
    else:
        not_measured.append({"measure": "1024 registrants against none", "why": "left out, or the benchmark failed"})
    not_measured += [{"measure": name, "why": why} for name, why in NOT_MEASURED.items()]

    print("| measure | target | measured | A/A noise | |")
    print("|---|---|---|---|---|")
    for row in rows:
        row["met"] = judge(row)
        sign = "≥" if row["relation"] == ">=" else "≤"
        word = {True: "met", False: "**missed**", None: "too noisy to say"}[row["met"]]
        print(f"| {row['measure']} | {sign} {row['target']:.2f} | {spread(row['ratio'])} | {spread(row['noise'])} | {word} |")
    print()
    for left_out in not_measured:
        print(f"Not measured: {left_out['measure']}: {left_out['why']}.")

    document = {
        "format": 1,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": next((row["study"]["machine"] for row in rows if row["study"]), None),
        "load_average": os.getloadavg(),
        "rows": rows,
        "not_measured": not_measured,
    }
    output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    machine = document["machine"]
    if machine:
        print(f"\n{document['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}; {output}")


main(*map(pathlib.Path, sys.argv[1:]))
