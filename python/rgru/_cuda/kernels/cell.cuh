// -- cell: the GRU equations, forward and backward --------------------------------------------------------------------
// a_* are pre-activations, d* gradients of the loss.

#ifndef COMMON

struct Gates {
    Sum r, z, c, a_hh;  // a_hh = U_hh h + b_hh, reset-after
};

// What the candidate's recurrent product reads: r times the state as the others read it, reset-before.
__device__ __forceinline__ Sum reset(Sum a_r, Sum read) { return gate_of(a_r) * read; }

// The new state, before it is clipped.
__device__ __forceinline__ Sum blend(Sum z, Sum c, Sum h) { return h + z * (c - h); }

// Gates of a step and, in h, its new state. a_h is W_xh x + b_h, and a_hh the candidate's recurrent part:
// U_hh h + b_hh reset-after, U_hh (r * h) reset-before. `left` is what zoneout leaves of z: the backward pass reads their
// product, and where it is 0, the gradient of a_z is 0.
__device__ __forceinline__ Gates cell(Sum a_r, Sum a_z, Sum a_h, Sum a_hh, Sum left, Sum& h) {
    Gates gates;
    gates.r = gate_of(a_r);
    gates.z = gate_of(a_z) * left;
    gates.c = candidate_of(RESET_AFTER ? a_h + gates.r * a_hh : a_h + a_hh);
    gates.a_hh = a_hh;
    h = clipped_state(blend(gates.z, gates.c, h));
    return gates;
}

struct GateGradients {
    Sum r, z, h, hh;  // gradients of a_r, a_z, a_h and, reset-after, of a_hh
};

// Gradients of a step from the gradient dh of its state, which becomes the part that does not pass through the gates.
// Reset-before, that of a_r waits for `cell_backward_reset`.
__device__ __forceinline__ GateGradients cell_backward(const Gates& gates, Sum h_prev, Sum& dh) {
    const Sum not_z = Sum(1) - gates.z;
    dh = clipped_state_backward(blend(gates.z, gates.c, h_prev), dh);
    GateGradients da;
    da.z = gate_backward(gates.z, dh * (gates.c - h_prev));
    da.h = candidate_backward(gates.c, dh * gates.z);
    da.hh = RESET_AFTER ? da.h * gates.r : da.h;
    da.r = RESET_AFTER ? gate_backward(gates.r, da.h * gates.a_hh) : Sum(0);
    dh *= not_z;
    return da;
}

// Reset-before: the gradient of a_r from the gradient drh of r * h; adds to dh what passes to h through r * h.
__device__ __forceinline__ Sum cell_backward_reset(Sum r, Sum h_prev, Sum drh, Sum& dh) {
    dh += r * drh;
    return gate_backward(r, drh * h_prev);
}

#endif  // not COMMON
