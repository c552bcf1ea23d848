"""`chainrule evaluate`: a trained run and data whose targets are known → measures beside the baseline's."""

from __future__ import annotations

import argparse

from chainrule.cli.parser import Parser
from chainrule.data import aligned
from chainrule.tasks.run import load_run
from chainrule.tasks.scores import Scores, shown

EXAMPLES = """
  chainrule evaluate runs/houses houses-2024.csv
  chainrule evaluate runs/adult adult-test.csv --labels "<=50K.-><=50K,>50K.->>50K"
"""


def add_arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    parser.add_argument("data", metavar="DATA", help="data like those of training, with the target")
    parser.add_argument(
        "--labels", default="", metavar="OLD=NEW,…", help="rename labels (OLD->NEW where they contain =)"
    )
    parser.add_argument("--skip-missing-target", action="store_true", help="leave out rows without a target")


def run(options: argparse.Namespace) -> int:
    """Score the run, and print its measures beside the baseline's."""
    scores = load_run(options.run).evaluate(
        options.data, labels=options.labels, missing="drop" if options.skip_missing_target else "error"
    )
    print(scores)
    if scores.doubt:
        print(scores.doubt)
    print()
    print(measures(scores))
    return 0


def measures(scores: Scores) -> str:
    """Return a table of the network's and the baseline's measures."""
    rows = [["measure", "network", "baseline"]]
    for name, value in scores.values.items():
        baseline = shown(name, scores.baseline[name]) if name in scores.baseline else ""
        rows.append([name.replace("_", " "), shown(name, value), baseline])
    return aligned(rows, right=(1, 2))
