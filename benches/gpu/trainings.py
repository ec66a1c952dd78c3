"""The same training by an estimator and in PyTorch, on one GPU."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import rgru
from gpu.contenders import products
from gpu.tasks import BATCH, RATE, Sizes, adding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def against_torch(sizes: Sizes, hidden: int, kind: str) -> dict[str, Any]:
    """Train the adding problem with rgru and PyTorch on the same GPU; the ratio is PyTorch's seconds / rgru's."""
    x, y = adding(sizes.sequences, sizes.compared_steps, 0)
    epochs = max(2, sizes.epochs // 3)
    estimator = rgru.GRURegressor(
        hidden_size=hidden,
        reset_after=True,
        batch_size=BATCH,
        max_epochs=epochs,
        learning_rate=RATE,
        random_state=0,
        device="cuda",
    )
    with products(kind):
        estimator.fit(x, y)
        theirs, loss = torch_epochs(x, y, hidden, epochs)
    history = estimator.history_
    ours = [len(x) / rate for rate in history.sequences_per_second]
    times = {"rgru": median(ours[1:]), "torch": median(theirs[1:])}  # the first epoch warms up
    losses = {"rgru": history.train_loss[-1], "torch": loss}
    return {"hidden": hidden, "kind": kind, "seconds": times, "loss": losses, "ratio": times["torch"] / times["rgru"]}


def torch_epochs(x: NDArray[np.float32], y: NDArray[np.float32], hidden: int, epochs: int) -> tuple[list[float], float]:
    """Train as `rgru.GRURegressor` does, with all data on the GPU; return each epoch's seconds and the last loss."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    gru = torch.nn.GRU(x.shape[-1], hidden, batch_first=True).to(device)
    head = torch.nn.Linear(hidden, 1).to(device)
    parameters = [*gru.parameters(), *head.parameters()]
    batches = -(-len(x) // BATCH)
    adam = torch.optim.Adam(parameters, RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs * batches)
    inputs = torch.from_numpy((x - x.mean((0, 1))) / x.std((0, 1))).to(device)
    targets = torch.from_numpy((y - y.mean()) / y.std())[:, None].to(device)
    seconds, loss = [], float("nan")
    for _ in range(epochs):
        begun, total = time.perf_counter(), torch.zeros((), device=device)
        for rows in torch.randperm(len(x), device=device).split(BATCH):
            adam.zero_grad()
            error = torch.nn.functional.mse_loss(head(gru(inputs[rows])[0][:, -1]), targets[rows])
            error.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            adam.step()
            schedule.step()
            total += error.detach() * len(rows)
        loss = float(total) / len(x)  # waits for the GPU
        seconds.append(time.perf_counter() - begun)
    return seconds, loss


def print_training(row: dict[str, Any]) -> None:
    times, losses = row["seconds"], row["loss"]
    each = ", ".join(f"{name} {1000 * times[name]:.1f} ms an epoch (loss {losses[name]:.2e})" for name in times)
    print(f"training H={row['hidden']} {row['kind']}: {row['ratio']:.2f}x torch's speed: {each}", flush=True)
