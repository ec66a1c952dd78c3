// -- forward: all steps of all sequences ------------------------------------------------------------------------------

#if defined(PERSISTENT) && !defined(BACKWARD)

// Of step t, where there is one.
__device__ __forceinline__ void load_projections(
    Projection (&into)[THREAD_STATES],
    const Sum* gx,                 // [S, D, 3, H]: W x
    const unsigned char* factors,  // [S, D, H] or null
    const Owned (&own)[THREAD_STATES], int t, int direction)
{
#pragma unroll
    for (int i = 0; i < THREAD_STATES; i++) {
        into[i] = Projection{0, 0, 0};
        if (own[i].real && t < own[i].sequence.length) {
            into[i] = load_projection(gx, factors, own[i].cells, own[i].sequence.row(t, direction));
        }
    }
}

// In every step a team multiplies U with h of its sequences, sums the slices, computes the new states and exchanges
// them.
extern "C" __global__ void CLUSTERED __launch_bounds__(THREADS, 1) recurrence_forward(
    const Operand* packed,   // [D, BLOCKS, WEIGHTS] of `pack`
    const Sum* gx,           // [S, D, 3, H]: W x
    const Sum* b,            // [D, 3, H] or null
    const Sum* b_hh,         // [D, H] or null
    const Number* h0,        // [D, N, H] or null
    const long long* first,  // [N] row of each sequence's first step
    const int* length,       // [N]
    const int* order,        // [N] the sequences, longest first
    Number* y,               // [S, D, H]
    Number* h_n,             // [D, N, H]
    Number* tape,            // [S, D, 3, H]: r, z, h~, or null; may be gx
    Number* tape_hh,         // [S, D, H]: U_hh h + b_hh, reset-after, or null
    void* published,         // what blocks exchange through memory, of all teams; zeroed for PACKETS
    unsigned* arrivals,      // [teams, ARRIVALS_PITCH], zeroed, GRID
    int count, int directions,
    const unsigned char* factors,  // [S, D, H] of zoneout, or null
    const Sum* masks               // [D, N, H] of recurrent dropout, or null
) {
    Pass pass(packed, published, arrivals, count, directions);
    const int direction = pass.direction;
    Products& products = pass.products;
    Exchange& exchange = pass.exchange;

    int phase = 0;
    for (int part = pass.first_part(); part * BATCH < count; part = pass.next_part(part)) {
        const int steps = length[order[part * BATCH]];
        Owned own[THREAD_STATES];
        Biases biases[THREAD_STATES];
        Sum h[THREAD_STATES], mask[THREAD_STATES];
#pragma unroll
        for (int i = 0; i < THREAD_STATES; i++) {
            own[i] = pass.owned(i, part, order, length, first);
            biases[i] = Biases{0, 0, 0, 0};
            h[i] = 0;
            mask[i] = 1;
            if (own[i].real) {
                mask[i] = load_mask(masks, own[i].cells, own[i].sequence.n, count);
                biases[i] = load_biases(b, b_hh, direction, own[i].cells.unit);
                if (h0 != nullptr) h[i] = widen(h0[own[i].cells.state(own[i].sequence.n, count)]);
            }
            if (own[i].mine && steps > 0) {
                exchange.publish(0, phase, own[i].unit, own[i].batch, operand(h[i] * mask[i]));
            }
        }
        // Not without steps: no block would read it, and it might overwrite what another block still reads.
        if (steps > 0) exchange.arrive<0, 0>(phase);
        Projection next[THREAD_STATES];  // of the coming step: loaded early, since global memory is slow
        load_projections(next, gx, factors, own, 0, direction);

        for (int t = 0; t < steps; t++, phase++) {
            Projection a[THREAD_STATES];
#pragma unroll
            for (int i = 0; i < THREAD_STATES; i++) a[i] = next[i];
            load_projections(next, gx, factors, own, t + 1, direction);
            exchange.wait<0, 0>(phase);
            const Operand* input = exchange.read<0>(phase);
#if RESET_AFTER
            products.product<0, 3>(input);
#else
            products.product<0, 1>(input);
            __syncthreads();
#pragma unroll
            for (int i = 0; i < THREAD_STATES; i++) {
                if (!own[i].mine) continue;
                const Sum a_r = a[i].r + biases[i].r + products.total(0, own[i].batch, own[i].unit);
                const Sum rh = reset(a_r, h[i] * mask[i]);
                exchange.publish(1, phase, own[i].unit, own[i].batch, operand(rh));
            }
            exchange.arrive<1, 1>(phase);
            products.product<1, 1>(input);  // while the other blocks publish
            exchange.release();
            exchange.wait<1, 1>(phase);
            products.product<2, 1>(exchange.read<1>(phase));
#endif
            __syncthreads();
            Gates gates[THREAD_STATES];
#pragma unroll
            for (int i = 0; i < THREAD_STATES; i++) {
                if (!own[i].mine) continue;
                if (own[i].real && t < own[i].sequence.length) {
                    const int batch = own[i].batch, unit = own[i].unit;
                    gates[i] = cell(
                        a[i].r + biases[i].r + products.total(0, batch, unit),
                        a[i].z + biases[i].z + products.total(1, batch, unit), a[i].h + biases[i].h,
                        biases[i].hh + products.total(2, batch, unit), a[i].left(), h[i]);
                }
                if (t + 1 < steps) {
                    exchange.publish(0, phase + 1, own[i].unit, own[i].batch, operand(h[i] * mask[i]));
                }
            }
            if (t + 1 < steps) exchange.arrive<0, 0>(phase + 1);
            // After the arrival, which would wait for these stores where it is a release.
#pragma unroll
            for (int i = 0; i < THREAD_STATES; i++) {
                if (own[i].real && t < own[i].sequence.length) {
                    store_step(y, tape, tape_hh, own[i].cells, own[i].sequence.row(t, direction), gates[i], h[i]);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < THREAD_STATES; i++) {
            if (own[i].real) h_n[own[i].cells.state(own[i].sequence.n, count)] = narrow(h[i]);
        }
    }
}

#endif  // PERSISTENT and not BACKWARD
