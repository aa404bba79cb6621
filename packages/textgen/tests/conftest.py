"""One thread for tests: the models are tiny, and threads that share a busy core spin for each
other, which made the same tests ten times slower."""

from __future__ import annotations

import torch
from hypothesis import settings

torch.set_num_threads(1)

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
