"""One thread for tests: the models are tiny, and threads that share a busy core spin for each
other, which made the same tests ten times slower."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
