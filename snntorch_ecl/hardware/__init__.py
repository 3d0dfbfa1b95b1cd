"""On the way to chips: adapters to the tools that measure for them."""

from ._neurobench import NeuroBenchNet

__all__ = ["NeuroBenchNet"]
