"""A training loop as PyTorch's users write it, without Horovod: tokens a second, as JSON."""

from __future__ import annotations

import json
import sys
import time

import torch

from hvdcore.metrics.metrics import peak_resident_bytes
from textgen.model.config import preset
from textgen.model.transformer import Transformer

device = torch.device(sys.argv[1])
plan = json.loads(sys.argv[2])
torch.manual_seed(0)
model = Transformer(preset(plan["model"]).config(256, context_length=plan["length"])).to(device)
on_gpu = device.type == "cuda"
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=on_gpu)
rows = torch.randint(256, (512, plan["length"] + 1))
WARM_UP = 5

for step in range(plan["steps"]):
    if step == WARM_UP:
        if on_gpu:
            torch.cuda.synchronize()
        started = time.perf_counter()
    at = step * plan["batch"] % (len(rows) - plan["batch"] + 1)
    batch = rows[at : at + plan["batch"]].to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=on_gpu):
        loss = model.loss(batch[:, :-1], batch[:, 1:], reduction="mean")
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 10 == 9:
        loss.item()
if on_gpu:
    torch.cuda.synchronize()
seconds = time.perf_counter() - started
tokens = (plan["steps"] - WARM_UP) * plan["batch"] * plan["length"]
memory = torch.cuda.max_memory_allocated() if on_gpu else peak_resident_bytes()
print(json.dumps({"tokens_per_second": tokens / seconds, "peak_memory_mb": memory / 1e6}))
