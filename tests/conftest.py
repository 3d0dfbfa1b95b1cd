"""For all tests: one thread, as their tensors are small and more would only wait for each other."""

import torch
from hypothesis import settings

torch.set_num_threads(1)

# The machine may be busy: a slow example is no failure.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")
