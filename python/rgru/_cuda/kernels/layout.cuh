// -- layout: where numbers lie in arrays, and what a step loads and stores --------------------------------------------

#ifndef COMMON

// A sequence in one direction.
struct Sequence {
    int n;            // its place in arrays [N]; padding has no steps, and n = -1
    int length;       // steps
    long long first;  // row of its first step in arrays [S]

    __device__ __forceinline__ long long row(int t, int direction) const {
#ifdef REVERSE
        direction = 1;
#endif
        return first + (direction ? length - 1 - t : t);
    }
};

__device__ __forceinline__ Sequence sequence_at(
    int position, int count,
    const int* order,        // [N] the sequences, longest first
    const int* length,       // [N]
    const long long* first)  // [N] row of each sequence's first step
{
    if (position >= count) return Sequence{-1, 0, 0};
    const int n = order[position];
    return Sequence{n, length[n], first[n]};
}

// Indices of the numbers of one unit in one step.
struct Cells {
    int directions, direction, unit;

    // In arrays [S, D, H], and [S, D, 3, H] at the gate's.
    __device__ __forceinline__ long long one(long long row) const {
        return (row * directions + direction) * H + unit;
    }
    __device__ __forceinline__ long long three(long long row, int gate) const {
        return ((row * directions + direction) * 3 + gate) * H + unit;
    }
    // In arrays [D, N, H].
    __device__ __forceinline__ long long state(int n, int count) const {
        return (static_cast<long long>(direction) * count + n) * H + unit;
    }
};

// The factor of a state where recurrent products read it: of recurrent dropout, in training.
__device__ __forceinline__ Sum load_mask(
    const Sum* masks,  // [D, N, H]; without RECURRENT_MASK not read
    const Cells& cells, int n, int count)
{
#ifdef RECURRENT_MASK
    return masks[cells.state(n, count)];
#else
    return 1;
#endif
}

struct Biases {
    Sum r, z, h, hh;
};

__device__ __forceinline__ Biases load_biases(
    const Sum* b,     // [D, 3, H] or null
    const Sum* b_hh,  // [D, H] or null
    int direction, int unit)
{
    Biases biases = {0, 0, 0, 0};
    if (b != nullptr) {
        biases.r = b[(direction * 3 + 0) * H + unit];
        biases.z = b[(direction * 3 + 1) * H + unit];
        biases.h = b[(direction * 3 + 2) * H + unit];
    }
    if (b_hh != nullptr) biases.hh = b_hh[direction * H + unit];
    return biases;
}

// The input's part of the pre-activations of a step, and zoneout's factor, in the type of memory: both are only loaded
// here, so that no thread waits for them yet.
struct Projection {
    Sum r, z, h;
#ifdef ZONEOUT
    static constexpr unsigned char NO_MASK = 2;
    unsigned char factor;  // of z: 0 or 1 in training, else NO_MASK

    // What is left of z.
    __device__ __forceinline__ Sum left() const { return factor == NO_MASK ? Sum(ZONEOUT) : Sum(factor); }
#else
    __device__ __forceinline__ static Sum left() { return 1; }
#endif
};

__device__ __forceinline__ Projection load_projection(
    const Sum* gx,                 // [S, D, 3, H]: W x
    const unsigned char* factors,  // [S, D, H] or null
    const Cells& cells, long long row)
{
    Projection a = {gx[cells.three(row, 0)], gx[cells.three(row, 1)], gx[cells.three(row, 2)]};
#ifdef ZONEOUT
    a.factor = factors == nullptr ? Projection::NO_MASK : factors[cells.one(row)];
#endif
    return a;
}

// tape may be gx itself: the thread that writes here has read there.
__device__ __forceinline__ void store_step(
    Number* y,        // [S, D, H]
    Number* tape,     // [S, D, 3, H]: r, z, h~, or null
    Number* tape_hh,  // [S, D, H]: U_hh h + b_hh, reset-after
    const Cells& cells, long long row, const Gates& gates, Sum h)
{
    y[cells.one(row)] = narrow(h);
    if (tape == nullptr) return;
    tape[cells.three(row, 0)] = narrow(gates.r);
    tape[cells.three(row, 1)] = narrow(gates.z);
    tape[cells.three(row, 2)] = narrow(gates.c);
    if (RESET_AFTER) tape_hh[cells.one(row)] = narrow(gates.a_hh);
}

// What the backward pass of a step reads, in the type of memory: again it is only loaded, not waited for.
struct TapeStep {
    Number r, z, c, a_hh, h_prev, dy;

    __device__ __forceinline__ Gates gates() const { return Gates{widen(r), widen(z), widen(c), widen(a_hh)}; }
};

// The state before step t.
__device__ __forceinline__ Number load_previous(
    const Number* y,   // [S, D, H]
    const Number* h0,  // [D, N, H] or null
    const Cells& cells, const Sequence& sequence, int t, int count)
{
    if (t > 0) return y[cells.one(sequence.row(t - 1, cells.direction))];
    return h0 == nullptr ? narrow(0) : h0[cells.state(sequence.n, count)];
}

__device__ __forceinline__ TapeStep load_tape_step(
    const Number* tape,     // [S, D, 3, H]: r, z, h~
    const Number* tape_hh,  // [S, D, H], reset-after
    const Number* y,        // [S, D, H]
    const Number* h0,       // [D, N, H] or null
    const Number* dy,       // [S, D, H] or null
    const Cells& cells, const Sequence& sequence, int t, int count)
{
    const long long row = sequence.row(t, cells.direction);
    TapeStep step;
    step.r = tape[cells.three(row, 0)];
    step.z = tape[cells.three(row, 1)];
    step.c = tape[cells.three(row, 2)];
    step.a_hh = RESET_AFTER ? tape_hh[cells.one(row)] : narrow(0);
    step.h_prev = load_previous(y, h0, cells, sequence, t, count);
    step.dy = dy == nullptr ? narrow(0) : dy[cells.one(row)];
    return step;
}

// The factors of the gradients of the weights.
__device__ __forceinline__ void store_gate_gradients(
    Number* da,        // [S, D, 3, H]
    Number* da_own,    // [S, D, H], the candidate's own: reset-after the gradient of U_hh h, else r * read, which
                       // U_hh has read
    Number* previous,  // [S, D, H]: read, the state before the step as U_r and U_z have read it
    const Cells& cells, long long row, const GateGradients& gradients, Sum r, Sum read)
{
    da[cells.three(row, 0)] = narrow(gradients.r);
    da[cells.three(row, 1)] = narrow(gradients.z);
    da[cells.three(row, 2)] = narrow(gradients.h);
    da_own[cells.one(row)] = narrow(RESET_AFTER ? gradients.hh : r * read);
    previous[cells.one(row)] = narrow(read);
}

#endif  // not COMMON
