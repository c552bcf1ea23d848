"""`chainrule predict`: a trained run and data → an answer for each row, as CSV."""

from __future__ import annotations

import argparse
import csv
import io
import sys

from chainrule.cli.parser import Parser
from chainrule.tasks.run import Answers, Run, load_run
from chainrule.tensors.files import atomic_write

EXAMPLES = """
  chainrule predict runs/houses new.csv                        to the screen
  chainrule predict runs/adult new.csv --proba --out answers.csv
"""

MOST_NOTES = 12


def add_arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    parser.add_argument("data", metavar="DATA", help="data like those of training, with or without the target")
    parser.add_argument("--out", metavar="FILE", help="write the answers here (else to the screen)")
    parser.add_argument("--proba", action="store_true", help="also the probability of each class")


def run(options: argparse.Namespace) -> int:
    """Predict, and write the answers."""
    loaded = load_run(options.run)
    if options.proba:
        loaded.require_classes("--proba")
    answers = loaded.answer(options.data)
    for note in answers.notes[:MOST_NOTES]:
        print(f"note: {note}", file=sys.stderr)
    if len(answers.notes) > MOST_NOTES:
        print(f"note: and {len(answers.notes) - MOST_NOTES} more", file=sys.stderr)
    text = answers_csv(loaded, answers, proba=options.proba)
    if options.out is None:
        sys.stdout.write(text)
        return 0
    atomic_write(options.out, text.encode("utf-8"))
    print(f"{len(answers.predicted):,} answers in {options.out}")
    return 0


def answers_csv(run: Run, answers: Answers, *, proba: bool) -> str:
    """Return a line for each row: its place, the answer, and for classes how probable it is."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = [answers.place_name, "predicted"]
    columns = [answers.places.tolist(), answers.predicted.tolist()]
    if answers.probabilities is not None:
        header.append("probability")
        columns.append([f"{p:.6g}" for p in answers.probabilities.max(axis=1).tolist()])
        if proba:
            header += [f"p({label})" for label in run.classes.tolist()]
            columns += [[f"{p:.6g}" for p in one] for one in answers.probabilities.T.tolist()]
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()
