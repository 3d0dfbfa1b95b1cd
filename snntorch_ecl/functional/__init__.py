"""The equations of error-compensation learning, as pure functions.

Source: Liu et al., "Efficient ANN-SNN Conversion with Error Compensation Learning", ICML 2025,
arXiv 2506.01968, called "ECL". Activations and thresholds share one arbitrary unit (the ANN's
own); time is counted in steps.
"""

from ._activation import positive, threshold_clip
from ._edges import CountBounds
from ._neuron import State, SurrogateGradient, dual_threshold_step, fresh_state
from ._scan import scan

__all__ = [
    "CountBounds",
    "State",
    "SurrogateGradient",
    "dual_threshold_step",
    "fresh_state",
    "positive",
    "scan",
    "threshold_clip",
]
