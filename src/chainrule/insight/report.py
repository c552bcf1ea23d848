"""The report of a run: one HTML file that opens offline, needs nothing from elsewhere, and prints.

``sections`` and ``flow_section`` turn a Summary into plain values, ``charts`` draws, ``template/`` lays out. What comes
from data is escaped everywhere; the page's own policy forbids it to load anything or to run any script but its one.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from chainrule.errors import FileError
from chainrule.forks import undisturbed
from chainrule.insight import sections
from chainrule.insight.advice import advise
from chainrule.insight.figures import metric_name, minus, score
from chainrule.insight.flow_section import flow_section
from chainrule.insight.summary import Summary
from chainrule.tensors.files import PathLike, atomic_write

TEMPLATE = Path(__file__).parent / "template"


def write_report(path: PathLike, summary: Summary) -> None:
    """Write the report of a run as one HTML file; ``path`` has the old file or the whole new one at every moment.

    Raises FileError if it cannot be written, or Jinja2 is not installed.
    """
    atomic_write(path, render(summary).encode("utf-8"))


def render(summary: Summary) -> str:
    """Return the text of the page."""
    script = (TEMPLATE / "report.js").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    text: str = (
        _environment()
        .get_template("report.html")
        .render(
            page(summary),
            style=(TEMPLATE / "report.css").read_text(encoding="utf-8"),
            script=script,
            script_hash=f"sha256-{digest}",
        )
    )
    return text


def page(summary: Summary) -> dict[str, Any]:
    """Return every value on the page."""
    advice = advise(summary) if summary.advice is None else summary.advice
    return {
        "title": summary.title,
        "task": summary.task,
        "target": summary.target,
        "verdict": sections.verdict(summary),
        "metric": metric_name(summary.metric),
        "part": summary.scored_part,
        "higher_is_better": summary.higher_is_better,
        "is_better": summary.is_shown_better,
        "bars": sections.score_bars(summary),
        "metrics": [(metric_name(name), score(name, value)) for name, value in summary.metrics.items()],
        "facts": sections.facts(summary),
        "advice": advice,
        "curves": sections.training_curves(summary),
        "epochs": sections.epoch_table(summary) if summary.history else None,
        "confusion": sections.confusion_section(summary),
        "numbers": sections.number_charts(summary),
        "flow": flow_section(summary.error_flow) if summary.error_flow is not None else None,
        "worst": sections.worst_section(summary.worst),
        "data_notes": [str(line) for line in summary.data_notes],
        "config": sections.settings(summary.config),
        "environment": sections.settings(summary.environment),
    }


def _environment() -> Any:
    try:
        with undisturbed():
            import jinja2  # an extra: only the report needs it
    except ImportError:
        raise FileError(
            "the report is laid out by Jinja2, which is not installed", fix="run pip install 'chainrule[command]'"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["minus"] = minus
    return environment
