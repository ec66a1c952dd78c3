"""ONNX models of GRUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from rgru.nn._gru import GRU


def to_onnx(gru: GRU, path: str | os.PathLike[str], *, lengths: bool = False, h0: bool = False) -> None:
    """Write a GRU as an ONNX model, which ONNX Runtime, OpenVINO and others run.

    Parameters
    ----------
    gru : GRU
        The GRU, with either cell.
    path : path_like
        The file, by convention with the suffix ``.onnx``. It is replaced when the new one is complete.
    lengths : bool, default False
        Whether the model has an input ``lengths`` (N,) of int32.
    h0 : bool, default False
        Whether the model has an input ``h0`` (L*D, N, H). Without it the initial states are zero, or the learned ones.

    Raises
    ------
    TypeError
        If an argument has another type.
    ValueError
        If the GRU has an option that ONNX lacks: ``state_clip``, ``zoneout`` or ``layer_norm``, or a hard sigmoid of
        the gates with another beta than 0.5.
    ImportError
        If onnx is not installed.
    OSError
        If the file cannot be written.

    Notes
    -----
    The model has an input ``x`` (N, T, I) and outputs ``y`` (N, T, D*H) and ``h_n`` (L*D, N, H), with open axes N,
    ``batch``, and T, ``time``. For ids alone ``x`` is (N, T) of int64. Dropout of either kind acts in training only,
    and is not part of it. Its opset is 13 and its ir_version 7, as of ONNX 1.8.

    ONNX Runtime has no GRU in float64, OpenVINO none with `clip`, and OpenVINO 2026.4 ignores ``lengths`` where shapes
    are open: fix them by ``model.reshape``. `rgru.onnx.InferenceSession` runs all of these.

    Examples
    --------
    >>> import os, tempfile
    >>> import onnx
    >>> import rgru
    >>> from rgru.convert.onnx import to_onnx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "gru.onnx")
    ...     to_onnx(rgru.GRU(3, 8), path, lengths=True)
    ...     [one.name for one in onnx.load(path).graph.input]
    ['x', 'lengths']
    """
    gru.to_onnx(path, lengths=lengths, h0=h0)
