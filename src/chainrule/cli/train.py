"""`chainrule train`: data → a trained network, its score beside a baseline, and a report."""

from __future__ import annotations

import argparse
from typing import Any

from chainrule.cli.parser import Parser
from chainrule.cli.values import character, fraction_or_file, names, pair, quote, seconds, sizes
from chainrule.data import BUILTINS, KINDS, MISSING
from chainrule.tasks.config import AUGMENTATIONS, CLASS_WEIGHTS, DataConfig
from chainrule.tasks.model_file import WEIGHTS
from chainrule.tasks.network import ACTIVATIONS
from chainrule.tasks.run import Run
from chainrule.tasks.run_folder import REPORT, STATE
from chainrule.tasks.train import UNFINISHED, train

EXAMPLES = """
  chainrule train digits                                     handwritten digits, no file needed
  chainrule train houses.csv --target price --out runs/houses
  chainrule train heart.data --no-header --target "13 > 0"   yes or no by a comparison
  chainrule train adult.csv --no-header --target 14 --test adult-test.csv --labels "<=50K.-><=50K,>50K.->>50K"
  chainrule train mnist/ --hidden 256,128 --epochs 20 --time 10m
"""

WHY_STOPPED = {
    "epochs": "all epochs done",
    "early stopping": "the {} loss improved no more",
    "target": "the target was reached",
    "time": "the time is up",
    "interrupted": "interrupted by Ctrl-C",
    "callback": "stopped by a callback",
}


def add_arguments(parser: Parser) -> None:
    """Declare the options; one that is not given leaves the choice to the defaults for the data's size."""
    parser.add_argument(
        "data",
        metavar="DATA",
        help=f"a CSV or TSV file, a folder of IDX files, or a built-in name: {', '.join(BUILTINS)}",
    )
    what = parser.add_argument_group("what to learn")
    what.add_argument("--target", default="", help='a column, or a comparison such as "num > 0"')
    what.add_argument("--task", choices=("auto", "classification", "regression"), default="auto")
    what.add_argument("--labels", default="", metavar="OLD=NEW,…", help="rename labels (OLD->NEW where they contain =)")
    what.add_argument("--drop", type=names, default=(), metavar="COLUMN,…", help="do not use these columns")
    what.add_argument(
        "--kind",
        type=pair,
        action="append",
        default=[],
        metavar="COLUMN=KIND",
        help=f"a column's kind: {', '.join(KINDS)}",
    )
    what.add_argument("--skip-missing-target", action="store_true", help="leave out rows without a target")
    parts = parser.add_argument_group("which rows")
    parts.add_argument("--val", type=fraction_or_file, metavar="PART", help="validation: a fraction or a file (0.2)")
    parts.add_argument("--test", type=fraction_or_file, metavar="PART", help="test: a fraction or a file (0.2)")
    parts.add_argument("--seed", type=int, default=0, help="of parts, starting weights, order and dropout (0)")
    file = parser.add_argument_group("how the file is written")
    file.add_argument("--no-header", action="store_true", help="the first line is a row; columns are named 0, 1, …")
    file.add_argument(
        "--names", type=names, default=(), metavar="NAME,…", help="names of the columns, without a header"
    )
    file.add_argument(
        "--delimiter", type=character, default="auto", metavar="SIGN", help="such as ; or tab (found out)"
    )
    file.add_argument("--encoding", default="utf-8", help="such as cp1252 (utf-8)")
    file.add_argument("--decimal", default=".", metavar="SIGN", help="decimal sign of numbers (.)")
    file.add_argument("--quote", type=quote, default='"', metavar="SIGN", help='around cells, or none (")')
    file.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="CELL",
        help=f"also counts as missing, beside {' '.join(MISSING[1:])}",
    )
    network = parser.add_argument_group("the network (defaults by the number of rows)")
    network.add_argument("--hidden", type=sizes, metavar="N,N,…", help="units of the hidden layers, or none")
    network.add_argument("--activation", metavar="NAME", help=", ".join(ACTIVATIONS))
    network.add_argument("--dropout", type=float, metavar="P", help="after each hidden layer")
    network.add_argument("--input-dropout", type=float, metavar="P", help="on the inputs")
    learning = parser.add_argument_group("learning (defaults by the number of rows)")
    learning.add_argument("--epochs", type=int, help="at most this many")
    learning.add_argument("--lr", type=float, help="learning rate")
    learning.add_argument("--batch-size", type=int, metavar="N", help="rows per update")
    learning.add_argument("--optimizer", metavar="NAME", help="adamw, adam, sgd, rmsprop, …")
    learning.add_argument("--weight-decay", type=float, metavar="X")
    learning.add_argument("--schedule", metavar="NAME", help="of the learning rate: cosine, constant, one_cycle, …")
    learning.add_argument(
        "--patience", type=int, metavar="N", help="epochs without improvement before it stops (0: never)"
    )
    learning.add_argument("--clip-norm", type=float, metavar="X", help="limit of the gradient's norm")
    learning.add_argument(
        "--class-weight", choices=CLASS_WEIGHTS, help="balanced: rare classes count as much as others"
    )
    learning.add_argument("--time", type=seconds, metavar="TIME", help="stop after this long: 90s, 10m, 1h30m")
    learning.add_argument("--augment", choices=AUGMENTATIONS, default="auto", help="images: shifts by a pixel (auto)")
    folder = parser.add_argument_group("the run")
    folder.add_argument("--out", metavar="FOLDER", help="its folder (a new one in runs/)")
    folder.add_argument("--overwrite", action="store_true", help="replace the run in that folder")
    folder.add_argument("--resume", action="store_true", help="go on with a run that was killed or interrupted")
    folder.add_argument("--no-report", action="store_true", help="do not write report.html")
    folder.add_argument("--quiet", action="store_true", help="show the result alone")


def run(options: argparse.Namespace) -> int:
    """Train, and print the score beside the baseline and where model and report are."""
    found = train(
        _data(options),
        network=_given(options, "hidden", "activation", "dropout", "input_dropout"),
        training={
            **_given(options, "epochs", "lr", "batch_size", "optimizer", "weight_decay", "schedule", "patience"),
            **_given(options, "clip_norm", "class_weight"),
            **({} if options.time is None else {"time_limit": options.time}),
        },
        seed=options.seed,
        out=options.out,
        overwrite=options.overwrite,
        resume=options.resume,
        report=not options.no_report,
        progress=False if options.quiet else None,
        say=None if options.quiet else print,
    )
    print(_told(found, report=not options.no_report))
    return 130 if found.history.stopped == "interrupted" else 0


def _data(options: argparse.Namespace) -> DataConfig:
    given = {} if options.val is None else {"validation": options.val}
    if options.test is not None:
        given["test"] = options.test
    return DataConfig(
        source=options.data,
        target=options.target,
        task=options.task,
        header=not (options.no_header or options.names),
        names=options.names,
        delimiter=options.delimiter,
        encoding=options.encoding,
        decimal=options.decimal,
        quote=options.quote,
        missing=(*MISSING, *options.missing),
        labels=options.labels,
        drop=options.drop,
        kinds=dict(options.kind),
        skip_missing_target=options.skip_missing_target,
        augment=options.augment,
        **given,
    )


def _given(options: argparse.Namespace, *names_: str) -> dict[str, Any]:
    return {name: value for name in names_ if (value := getattr(options, name)) is not None}


def _told(run: Run, *, report: bool) -> str:
    history = run.history
    epochs = f"epoch {history.best_epoch} of {len(history)} is the best and was kept"
    if history.best_epoch is None:
        epochs = f"what the first epoch learned ({history.partial}) was kept"
    watched = "validation" if "val_loss" in history else "training"
    why = WHY_STOPPED.get(history.stopped, history.stopped).format(watched)
    lines = [f"\n{why} after {history.seconds:.1f} s; {epochs}"]
    lines += [f"note: {note}" for note in history.notes]
    width = max(map(len, (*run.scores, "report")))
    lines += [f"{name:{width}}  {score}" for name, score in run.scores.items()]
    doubt = next(iter(run.scores.values())).doubt
    if doubt:
        lines.append(doubt)
    if history.ended_at_best:
        more = f"epochs (--epochs {2 * len(history)})" if history.stopped == "epochs" else "time"
        lines.append(f"the last epoch is the best: with more {more} it may do better")
    if "test" not in run.scores:
        lines.append("the score is of rows that training saw or stopped by: give --test for an honest one")
    lines.append(f"{'model':{width}}  {run.path / WEIGHTS}")
    if report:
        lines.append(f"{'report':{width}}  {run.path / REPORT}")
    if history.stopped in UNFINISHED:
        lines.append(f"{'state':{width}}  {run.path / STATE} (go on: the same command with --out {run.path} --resume)")
    return "\n".join(lines)
