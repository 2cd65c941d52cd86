"""Judges a metrics page and the dashboard that is drawn from it: `openmetrics.py PAGE DASHBOARD`.

The page is read by the parser of Prometheus' own client library, which refuses what the OpenMetrics
standard does not allow. Of every query of the dashboard, each metric has to be on the page, and each
label that the query names on that metric. Ends with a line that says how much was looked at.
"""

import json
import re
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

# What Prometheus itself adds to each target's samples.
OF_THE_TARGET = {"instance", "job"}
METRIC = re.compile(r"\b(holdfast_[a-z0-9_]+)\s*(?:\{([^}]*)\})?")
MATCHER = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
VALUES = re.compile(r"label_values\((.*),\s*([a-z_]+)\s*\)$")


def labels_by_sample(page):
    """The labels of each sample's name, over all families of the page."""
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def queries(dashboard):
    """Every query, with where it stands."""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]["query"]
    panels = list(dashboard["panels"])
    for panel in panels:
        panels.extend(panel.get("panels", []))
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]


def complaints(query, found):
    """What a query names and the page has not."""
    named = METRIC.findall(query)
    if not named:
        yield "names no metric"
    grouped = {label.strip() for group in GROUPING.findall(query) for label in group.split(",")}
    values = VALUES.search(query)
    if values:
        grouped.add(values.group(2))
    for metric, matchers in named:
        if metric not in found:
            yield f"there is no {metric}"
            continue
        wanted = set(MATCHER.findall(matchers or "")) | grouped
        for label in sorted(wanted - found[metric] - OF_THE_TARGET):
            yield f"{metric} has no label {label}"


def main():
    page_path, dashboard_path = sys.argv[1:]
    with open(page_path, encoding="utf-8") as file:
        found = labels_by_sample(file.read())
    with open(dashboard_path, encoding="utf-8") as file:
        dashboard = json.load(file)
    seen, wrong = 0, []
    for where, query in queries(dashboard):
        seen += 1
        wrong += [f"{where}: {complaint}: {query}" for complaint in complaints(query, found)]
    print("\n".join(wrong))
    print(f"{len(found)} metrics, {seen} queries, {len(wrong)} complaints")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
