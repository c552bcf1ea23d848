"""What was seen, what it means, what to do: the error at each neuron, advice, and the report of a run.

error_flow  the error contribution of each neuron after a batch of data
flows       what it found, as tables
summary     everything that a report shows of a run
advice      from the numbers of a run to sentences
report      one HTML file that opens offline: sections, flow_section, charts, template/
"""

from chainrule.insight.advice import advise
from chainrule.insight.error_flow import error_flow
from chainrule.insight.flows import ErrorFlow, LayerFlow
from chainrule.insight.report import write_report
from chainrule.insight.summary import Advice, Summary, WorstError

__all__ = ["Advice", "ErrorFlow", "LayerFlow", "Summary", "WorstError", "advise", "error_flow", "write_report"]
