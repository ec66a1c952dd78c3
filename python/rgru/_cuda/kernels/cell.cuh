// -- cell: the GRU equations, forward and backward --------------------------------------------------------------------
// a_* are pre-activations, d* gradients of the loss.

#ifndef COMMON

struct Gates {
    Sum r, z, c, a_hh;  // a_hh = U_hh h + b_hh, reset-after
};

// What the candidate's recurrent product reads: r * h, reset-before.
__device__ __forceinline__ Sum reset(Sum a_r, Sum h) { return sigmoid(a_r) * h; }

// Gates of a step and, in h, its new state. a_h is W_xh x + b_h, and a_hh the candidate's recurrent part:
// U_hh h + b_hh reset-after, U_hh (r * h) reset-before.
__device__ __forceinline__ Gates cell(Sum a_r, Sum a_z, Sum a_h, Sum a_hh, Sum& h) {
    Gates gates;
    gates.r = sigmoid(a_r);
    gates.z = sigmoid(a_z);
    gates.c = hyperbolic_tangent(RESET_AFTER ? a_h + gates.r * a_hh : a_h + a_hh);
    gates.a_hh = a_hh;
    h += gates.z * (gates.c - h);
    return gates;
}

struct GateGradients {
    Sum r, z, h, hh;  // gradients of a_r, a_z, a_h and, reset-after, of a_hh
};

// The gradient of a_r from that of r.
__device__ __forceinline__ Sum reset_gate_gradient(Sum r, Sum dr) { return dr * r * (Sum(1) - r); }

// Gradients of a step from the gradient dh of its state, which becomes the part that does not pass through the gates.
// Reset-before, that of a_r waits for `cell_backward_reset`.
__device__ __forceinline__ GateGradients cell_backward(const Gates& gates, Sum h_prev, Sum& dh) {
    const Sum not_z = Sum(1) - gates.z;
    GateGradients da;
    da.z = dh * (gates.c - h_prev) * gates.z * not_z;
    da.h = dh * gates.z * (Sum(1) - gates.c * gates.c);
    da.hh = RESET_AFTER ? da.h * gates.r : da.h;
    da.r = RESET_AFTER ? reset_gate_gradient(gates.r, da.h * gates.a_hh) : Sum(0);
    dh *= not_z;
    return da;
}

// Reset-before: the gradient of a_r from the gradient drh of r * h; adds to dh what passes to h through r * h.
__device__ __forceinline__ Sum cell_backward_reset(Sum r, Sum h_prev, Sum drh, Sum& dh) {
    dh += r * drh;
    return reset_gate_gradient(r, drh * h_prev);
}

#endif  // not COMMON
