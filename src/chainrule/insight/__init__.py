"""What was seen, what it means, what to do: the error at each neuron, advice, and the report of a run.

error_flow  the error contribution of each neuron after a batch of data
flows       what it found, as tables
advice      from numbers of a run to sentences
summary     everything a report shows
report      one HTML file that opens offline
charts      drawings as SVG
"""

from chainrule.insight.error_flow import error_flow
from chainrule.insight.flows import ErrorFlow, LayerFlow

__all__ = ["ErrorFlow", "LayerFlow", "error_flow"]
