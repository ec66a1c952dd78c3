// -- stepwise: the library multiplies, then one of these kernels, one thread for each unit of each sequence -----------
// Step t is number `offset` after the `*done` steps in device memory, so that one graph of some steps serves all.

#ifdef STEPS

// Position of a thread: sequence `at` among the sorted, and unit.
#define EACH_UNIT                                                                             \
    const long long index = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;    \
    if (index >= static_cast<long long>(count) * H) return;                                   \
    const int at = static_cast<int>(index / H), unit = static_cast<int>(index % H);           \
    const int t = *done + offset;                                                             \
    const Sequence sequence = sequence_at(at, count, order, length, first);                   \
    const Cells cells = {directions, direction, unit};

extern "C" __global__ void begin(
    const Number* h0,        // [D, N, H] or null
    const long long* first,  // [N] row of each sequence's first step
    const int* length,       // [N]
    const int* order,        // [N] the sequences, longest first
    Sum* h,                  // [N, H], sorted: the state
    Number* read,            // [N, H], sorted: h as the product reads it
    Number* h_n,             // [D, N, H]
    int* done,               // [1]
    int count, int directions, int direction,
    const Sum* masks  // [D, N, H] of recurrent dropout, or null
) {
    if (blockIdx.x == 0 && threadIdx.x == 0) *done = 0;
    const long long index = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (index >= static_cast<long long>(count) * H) return;
    const Sequence sequence = sequence_at(static_cast<int>(index / H), count, order, length, first);
    const Cells cells = {directions, direction, static_cast<int>(index % H)};
    const Sum mask = load_mask(masks, cells, sequence.n, count);
    const Sum state = h0 == nullptr ? Sum(0) : widen(h0[cells.state(sequence.n, count)]);
    h[index] = state;
    read[index] = narrow(state * mask);
    h_n[cells.state(sequence.n, count)] = narrow(state);  // of a sequence without steps
}

extern "C" __global__ void advance(
    int* done,  // [1]
    int by) {
    *done += by;
}

// Reset-before, first half: r * h for the candidate's product.
extern "C" __global__ void step_reset(
    const Sum* products,     // [N, 3, H]: U h, of r and z
    const Sum* gx,           // [S, D, 3, H]: W x
    const Sum* b,            // [D, 3, H] or null
    const long long* first,  // [N]
    const int* length,       // [N]
    const int* order,        // [N]
    const Sum* h,            // [N, H], sorted
    Number* read,            // [N, H], sorted: r * h
    const int* done,         // [1]
    int offset, int count, int directions, int direction,
    const Sum* masks  // [D, N, H] of recurrent dropout, or null
) {
    EACH_UNIT
    if (t >= sequence.length) return;
    const Projection a = load_projection(gx, nullptr, cells, sequence.row(t, direction));
    const Biases biases = load_biases(b, nullptr, direction, unit);
    const Sum mask = load_mask(masks, cells, sequence.n, count);
    read[index] = narrow(reset(a.r + biases.r + products[(at * 3ll + 0) * H + unit], h[index] * mask));
}

extern "C" __global__ void step_forward(
    const Sum* products,     // [N, 3, H]
    const Sum* gx,           // [S, D, 3, H]: W x
    const Sum* b,            // [D, 3, H] or null
    const Sum* b_hh,         // [D, H] or null
    const long long* first,  // [N]
    const int* length,       // [N]
    const int* order,        // [N]
    Sum* h,                  // [N, H], sorted
    Number* read,            // [N, H], sorted: h
    Number* y,               // [S, D, H]
    Number* h_n,             // [D, N, H]
    Number* tape,            // [S, D, 3, H]: r, z, h~, or null
    Number* tape_hh,         // [S, D, H]: U_hh h + b_hh, reset-after, or null
    const int* done,         // [1]
    int offset, int count, int directions, int direction,
    const unsigned char* factors,  // [S, D, H] of zoneout, or null
    const Sum* masks               // [D, N, H] of recurrent dropout, or null
) {
    EACH_UNIT
    if (t < sequence.length) {
        const long long row = sequence.row(t, direction);
        const Projection a = load_projection(gx, factors, cells, row);
        const Biases biases = load_biases(b, b_hh, direction, unit);
        const Sum* product = products + at * 3ll * H + unit;
        Sum state = h[index];
        const Gates gates = cell(
            a.r + biases.r + product[0], a.z + biases.z + product[H], a.h + biases.h, biases.hh + product[2 * H],
            a.left(), state);
        store_step(y, tape, tape_hh, cells, row, gates, state);
        h[index] = state;
        read[index] = narrow(state * load_mask(masks, cells, sequence.n, count));
        if (t + 1 == sequence.length) h_n[cells.state(sequence.n, count)] = narrow(state);
    } else {
        read[index] = narrow(h[index]);  // over r * h
    }
}

// With recurrent dropout a product cannot add to dh what comes back through U: the next kernel masks and adds it.
__device__ __forceinline__ void add_returned(
    Sum* dh,              // [N, H], sorted
    const Sum* returned,  // [N, H], sorted: the last product; without RECURRENT_MASK not read
    const Sum* masks,     // [D, N, H]
    const Cells& cells, int n, int count, long long index)
{
#ifdef RECURRENT_MASK
    dh[index] += returned[index] * load_mask(masks, cells, n, count);
#endif
}

// The backward pass begins at step total - 1.
extern "C" __global__ void step_backward(
    const Number* tape,      // [S, D, 3, H]
    const Number* tape_hh,   // [S, D, H], reset-after
    const Number* y,         // [S, D, H]
    const Number* h0,        // [D, N, H] or null
    const Number* dy,        // [S, D, H] or null
    const long long* first,  // [N]
    const int* length,       // [N]
    const int* order,        // [N]
    Sum* dh,                 // [N, H], sorted
    Number* read,            // [N, 3, H], sorted: gradients of the gates as the products read them
    Number* da,              // [S, D, 3, H]
    Number* da_own,          // [S, D, H]
    Number* previous,        // [S, D, H]
    const int* done,         // [1]
    int offset, int total, int count, int directions, int direction,
    const Sum* returned,  // [N, H], sorted: what the step after has sent through U, with a mask
    const Sum* masks      // [D, N, H] of recurrent dropout, or null
) {
    EACH_UNIT
    add_returned(dh, returned, masks, cells, sequence.n, count, index);
    const int back = total - 1 - t;
    GateGradients gradients = {0, 0, 0, 0};
    if (back >= 0 && back < sequence.length) {
        const long long row = sequence.row(back, direction);
        const TapeStep step = load_tape_step(tape, tape_hh, y, h0, dy, cells, sequence, back, count);
        const Sum h_prev = widen(step.h_prev);
        Sum dh_step = dh[index] + widen(step.dy);
        gradients = cell_backward(step.gates(), h_prev, dh_step);
        dh[index] = dh_step;
        const Sum state = h_prev * load_mask(masks, cells, sequence.n, count);
        store_gate_gradients(da, da_own, previous, cells, row, gradients, widen(step.r), state);
    }
    Number* own = read + at * 3ll * H + unit;
    own[0] = narrow(gradients.r);
    own[H] = narrow(gradients.z);
    own[2 * H] = narrow(gradients.hh);
}

// Reset-before, second half: the gradient of a_r.
extern "C" __global__ void step_backward_reset(
    const Sum* drh,          // [N, H], sorted: the gradient of r * h
    const Number* tape,      // [S, D, 3, H]
    const Number* y,         // [S, D, H]
    const Number* h0,        // [D, N, H] or null
    const long long* first,  // [N]
    const int* length,       // [N]
    const int* order,        // [N]
    Sum* dh,                 // [N, H], sorted
    Number* read,            // [N, 3, H], sorted
    Number* da,              // [S, D, 3, H]
    const int* done,         // [1]
    int offset, int total, int count, int directions, int direction,
    const Sum* masks  // [D, N, H] of recurrent dropout, or null
) {
    EACH_UNIT
    const int back = total - 1 - t;
    if (back < 0 || back >= sequence.length) return;
    const long long row = sequence.row(back, direction);
    const Sum h_prev = widen(load_previous(y, h0, cells, sequence, back, count));
    Sum dh_step = dh[index];
    const Sum mask = load_mask(masks, cells, sequence.n, count), r = widen(tape[cells.three(row, 0)]);
    const Number da_r = narrow(cell_backward_reset(r, h_prev, drh[index] * mask, dh_step));
    dh[index] = dh_step;
    read[at * 3ll * H + unit] = da_r;
    da[cells.three(row, 0)] = da_r;
}

// From dh_n in the order of the batch to dh in sorted order.
extern "C" __global__ void begin_backward(
    const Number* dh_n,  // [D, N, H] or null
    const int* order,    // [N]
    Sum* dh,             // [N, H], sorted
    int* done,           // [1]
    int count, int direction) {
    if (blockIdx.x == 0 && threadIdx.x == 0) *done = 0;
    const long long index = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (index >= static_cast<long long>(count) * H) return;
    const long long n = order[index / H];
    dh[index] = dh_n == nullptr ? Sum(0) : widen(dh_n[(static_cast<long long>(direction) * count + n) * H + index % H]);
}

// And from dh to dh0.
extern "C" __global__ void end_backward(
    Sum* dh,           // [N, H], sorted
    const int* order,  // [N]
    Number* dh0,       // [D, N, H]
    int count, int directions, int direction,
    const Sum* returned,  // [N, H], sorted, as in `step_backward`
    const Sum* masks      // [D, N, H] of recurrent dropout, or null
) {
    const long long index = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (index >= static_cast<long long>(count) * H) return;
    const int n = order[index / H];
    const Cells cells = {directions, direction, static_cast<int>(index % H)};
    add_returned(dh, returned, masks, cells, n, count, index);
    dh0[cells.state(n, count)] = narrow(dh[index]);
}

#endif  // STEPS
