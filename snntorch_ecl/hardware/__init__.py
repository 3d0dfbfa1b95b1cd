"""Adapters to tools for neuromorphic hardware."""

from ._neurobench import NeuroBenchNet

__all__ = ["NeuroBenchNet"]
