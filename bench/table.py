"""The table of bench/run, and its results in one JSON file.

table.py DIRECTORY OUTPUT --profile NAME --commit ID --pairs N --burst TIME
reads rows and results in DIRECTORY, prints a table in Markdown, and writes to OUTPUT
  { format: 2, date, machine, commit, profile, pairs, burst, load_average: [3], rows: [ROW] }
  ROW = { measure, kind, key, relation, target, measured, noise, met, error, server_cpu_ns_per_io, tgtd, study }

`measured` and `noise` have min, q1, median, q3 and max, null where they are not known; `noise` is that of
the control. `target` is null in a row for comparison. `met` is null there, where the control strayed too
far from 1 for any judgement, and where there is an `error`. `study` is what the measuring command printed, if that is JSON; rows may share it.

A row is a file NN.row: name, kind, key, relation, target (or `-`) and result, with tabs between. Kinds:
  ratio:LINE   of `bench compare`: the ratio of that candidate to the first, by the measure KEY
  value:LINE   of `bench compare`: the median of that candidate itself, by the measure KEY
  registrants  of `cargo bench --bench registrants`
  memory       of `bench memory`: KiB of each KEY, session or volume
  limits       of `bench limits`: `most` and `least` are of the ratios to a limit; iops and p999 of its neighbour
  hop          of `cargo bench --bench hop`: the slowest that criterion found whose name has a hop in it
The result is in RESULT.out; where that is missing, RESULT.error says why.
"""

import argparse
import datetime
import json
import os
import pathlib
import re

# Where the control's quartiles stray from 1 by a larger factor, the machine was not quiet enough to tell.
NOISE_MAX = 1.15
SPREAD = ("min", "q1", "median", "q3", "max")
NANOSECONDS = {"ps": 1e-3, "ns": 1, "µs": 1e3, "us": 1e3, "ms": 1e6, "s": 1e9}


def alone(value):
    """A figure without a spread."""
    return {key: value if key == "median" else None for key in SPREAD}


def of_comparison(row, output):
    study = json.loads(output)
    how, name = row["kind"].split(":")
    lines = {line["name"]: line["measures"] for line in study["lines"] if line["role"] != "control"}
    control = next(line["measures"] for line in study["lines"] if line["role"] == "control")
    measure = lines[name][row["key"]]
    found = {
        "measured": measure["ratio"] if how == "ratio" else alone(measure["median"]),
        # A share has no noise of its own where the reference has one session.
        "noise": control["iops" if control[row["key"]]["ratio"] is None else row["key"]]["ratio"],
        "server_cpu_ns_per_io": lines[name]["server_cpu_ns_per_io"]["median"],
        "study": study,
    }
    if "tgtd" in lines:
        found["tgtd"] = lines["tgtd"][row["key"]]["ratio"]
    return found


def of_registrants(_row, output):
    """The two lines that it ends with: names, A, B, B/A in time per read, where the target is in IOPS."""
    lines = [line for line in output.splitlines() if line.startswith("none /")]
    ratios = {"(control)" in line: 1 / float(line.split()[-1]) for line in lines}
    return {"measured": alone(ratios[False]), "noise": alone(ratios[True])}


def of_memory(row, output):
    study = json.loads(output)
    return {"measured": alone(study[row["key"]]["bytes_each"] / 1024), "study": study}


def of_limits(row, output):
    study = json.loads(output)
    ratios = [one["ratio"] for one in study["accuracy"]]
    neighbour = study["neighbour"]
    found = {
        "most": {"measured": alone(max(ratios))},
        "least": {"measured": alone(min(ratios))},
        "fairness": {"measured": alone(study["fairness"]["ratio"])},
        "iops": {"measured": neighbour["iops"], "noise": neighbour["control_iops"]},
        "p999": {"measured": neighbour["p999"], "noise": neighbour["control_p999"]},
    }
    return found[row["key"]] | {"study": study}


def of_hop(_row, output):
    """Criterion's `NAME  time:   [LOW MEDIAN HIGH]`, each with its unit; a long name has its own line."""
    pattern = r"^(\S.*?)\s+time:\s+\[([\d.]+) (\S+) ([\d.]+) (\S+) ([\d.]+) (\S+)\]"
    found = []
    for name, *numbers in re.findall(pattern, output, re.MULTILINE):
        if "hop" in name:
            low, median, high = (float(n) * NANOSECONDS[unit] for n, unit in zip(numbers[::2], numbers[1::2]))
            found.append({"min": None, "q1": low, "median": median, "q3": high, "max": None})
    if not found:
        raise ValueError("it names no hop")
    return {"measured": max(found, key=lambda hop: hop["median"])}


KINDS = {"registrants": of_registrants, "memory": of_memory, "limits": of_limits, "hop": of_hop}


def read_row(path):
    name, kind, key, relation, target, result = path.read_text().rstrip("\n").split("\t")
    row = {"measure": name, "kind": kind, "key": key, "relation": relation}
    row["target"] = None if target == "-" else float(target)
    row |= dict.fromkeys(("measured", "noise", "met", "error", "server_cpu_ns_per_io", "tgtd", "study"))
    output, error = (path.with_name(result + ending) for ending in (".out", ".error"))
    if not output.exists():
        told = error.read_text().strip() if error.exists() else ""
        return row | {"error": told.splitlines()[-1] if told else "it failed and said nothing"}
    try:
        row |= KINDS.get(kind, of_comparison)(row, output.read_text())
    except (ValueError, KeyError, StopIteration, TypeError) as problem:
        return row | {"error": f"its output makes no sense: {problem!r}"}
    return row | {"met": judge(row)}


def judge(row):
    """Whether the target is met; None where the noise forbids to say."""
    noise = row["noise"] or {}
    strays = [noise[key] for key in ("q1", "median", "q3") if noise.get(key)]
    if any(max(value, 1 / value) > NOISE_MAX for value in strays):
        return None
    measured, target = row["measured"]["median"], row["target"]
    if target is None:
        return None
    return measured >= target if row["relation"] == ">=" else measured <= target


def number(value):
    """A ratio, or an amount beyond 10 without decimals."""
    return f"{value:.3f}" if value < 10 else f"{value:.0f}"


def spread(figure):
    if figure is None:
        return "–"
    text = number(figure["median"])
    return text if figure["q1"] is None else f"{text} ({number(figure['q1'])}–{number(figure['q3'])})"


def cells(row, with_tgtd):
    sign = "≥" if row["relation"] == ">=" else "≤"
    if row["target"] is None:
        target = "–"
    else:
        target = f"{sign} {row['target']:.2f}" if row["target"] < 10 else f"{sign} {row['target']:.0f}"
    if row["target"] is None and not row["error"]:
        word = "for comparison"
    elif row["error"]:
        word = row["error"] if row["error"].startswith("left out") else f"**failed**: {row['error']}"
    else:
        word = {True: "met", False: "**missed**", None: "too noisy to say"}[row["met"]]
    cpu = row["server_cpu_ns_per_io"]
    told = [row["measure"], target, spread(row["measured"]), spread(row["noise"]), word.replace("|", "\\|")]
    told.append("–" if cpu is None else f"{cpu / 1000:.2f} µs")
    return told + ([spread(row["tgtd"])] if with_tgtd else [])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    for name in ("profile", "commit", "pairs", "burst"):
        parser.add_argument("--" + name, required=True)
    given = parser.parse_args()
    rows = [read_row(path) for path in sorted(given.directory.glob("*.row"))]
    with_tgtd = any(row["tgtd"] for row in rows)
    heads = ["measure", "target", "measured", "A/A noise", "", "server CPU per I/O"] + ["tgtd"] * with_tgtd
    for line in [heads, ["---"] * len(heads), *(cells(row, with_tgtd) for row in rows)]:
        print("| " + " | ".join(line) + " |")

    machines = (row["study"]["machine"] for row in rows if row["study"])
    document = {
        "format": 2,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": next(machines, None),
        "commit": given.commit,
        "profile": given.profile,
        "pairs": int(given.pairs),
        "burst": given.burst,
        "load_average": os.getloadavg(),
        "rows": rows,
    }
    given.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    machine = document["machine"] or {"cpu": "unknown processor", "cores": os.cpu_count(), "kernel": os.uname().release}
    print(
        f"\n{document['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, commit {given.commit}, "
        f"profile {given.profile}, {given.pairs} pairs of {given.burst}, load average {document['load_average'][0]:.1f}; "
        f"{given.output}"
    )


main()
