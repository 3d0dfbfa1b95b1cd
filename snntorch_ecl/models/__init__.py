"""Networks for the demo, the tutorials and the experiments: plain ReLU, nothing of this package."""

from .digit_net import DigitNet

__all__ = ["DigitNet"]
