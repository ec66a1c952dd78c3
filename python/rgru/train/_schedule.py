"""The options of the training loop: step size, batches, epochs, stopping."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The options of the training loop.

    Attributes
    ----------
    learning_rate : float
        Adam's initial step size, which falls along half a cosine to 0 at the end of `max_epochs` [1]_.
    batch_size : int
        Sequences per step of Adam.
    max_epochs : int
    patience : int or None
        Stop after this number of epochs without a lower monitored loss; None never stops. The monitored loss is that
        of the validation data, or, without these, of the training data.
    max_grad_norm : float or None
        The largest global L2 norm of a batch's gradients; larger ones are scaled down. None sets no limit.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter. SGDR: Stochastic gradient descent with warm restarts. ICLR 2017.
    """

    learning_rate: float
    batch_size: int
    max_epochs: int
    patience: int | None
    max_grad_norm: float | None
