// -- backward: the gradients of all steps -----------------------------------------------------------------------------

#if defined(PERSISTENT) && defined(BACKWARD)

// Of step t, where there is one.
__device__ __forceinline__ void load_tape_steps(
    TapeStep (&into)[THREAD_STATES],
    const Number* tape,     // [S, D, 3, H]: r, z, h~
    const Number* tape_hh,  // [S, D, H], reset-after
    const Number* y,        // [S, D, H]
    const Number* h0,       // [D, N, H] or null
    const Number* dy,       // [S, D, H] or null
    const Owned (&own)[THREAD_STATES], int t, int count)
{
#pragma unroll
    for (int i = 0; i < THREAD_STATES; i++) {
        if (own[i].real && t >= 0 && t < own[i].sequence.length) {
            into[i] = load_tape_step(tape, tape_hh, y, h0, dy, own[i].cells, own[i].sequence, t, count);
        }
    }
}

// From the gradients dy and dh_n. Only dh is carried from step to step; the gradients of the weights and of x are
// products of what is stored here.
extern "C" __global__ void CLUSTERED __launch_bounds__(THREADS, 1) recurrence_backward(
    const Operand* packed,   // [D, BLOCKS, WEIGHTS] of `pack`
    const Number* tape,      // [S, D, 3, H]: r, z, h~
    const Number* tape_hh,   // [S, D, H]: U_hh h + b_hh, reset-after
    const Number* y,         // [S, D, H]
    const Number* h0,        // [D, N, H] or null
    const Number* dy,        // [S, D, H] or null
    const Number* dh_n,      // [D, N, H] or null
    const long long* first,  // [N] row of each sequence's first step
    const int* length,       // [N]
    const int* order,        // [N] the sequences, longest first
    Number* da,              // [S, D, 3, H], zeroed where there are rows of no sequence
    Number* da_own,          // [S, D, H], likewise
    Number* previous,        // [S, D, H], likewise
    Number* dh0,             // [D, N, H]
    void* published,         // what blocks exchange through memory, of all teams; zeroed for PACKETS
    unsigned* arrivals,      // [teams, ARRIVALS_PITCH], zeroed, GRID
    int count, int directions,
    const Sum* masks  // [D, N, H] of recurrent dropout, or null
) {
    Pass pass(packed, published, arrivals, count, directions);
    const int direction = pass.direction;
    Products& products = pass.products;
    Exchange& exchange = pass.exchange;

    int phase = 0;
    for (int part = pass.first_part(); part * BATCH < count; part = pass.next_part(part)) {
        const int steps = length[order[part * BATCH]];
        Owned own[THREAD_STATES];
        Sum dh[THREAD_STATES], mask[THREAD_STATES];
#pragma unroll
        for (int i = 0; i < THREAD_STATES; i++) {
            own[i] = pass.owned(i, part, order, length, first);
            dh[i] = 0;
            mask[i] = own[i].real ? load_mask(masks, own[i].cells, own[i].sequence.n, count) : Sum(1);
            if (own[i].real && dh_n != nullptr) dh[i] = widen(dh_n[own[i].cells.state(own[i].sequence.n, count)]);
        }
        TapeStep next[THREAD_STATES];  // of the coming step: loaded early, since global memory is slow
        load_tape_steps(next, tape, tape_hh, y, h0, dy, own, steps - 1, count);

        for (int t = steps - 1; t >= 0; t--, phase++) {
            GateGradients gradients[THREAD_STATES];
            Sum r[THREAD_STATES], h_prev[THREAD_STATES];
#pragma unroll
            for (int i = 0; i < THREAD_STATES; i++) {
                gradients[i] = GateGradients{0, 0, 0, 0};
                r[i] = h_prev[i] = 0;
                if (own[i].real && t < own[i].sequence.length) {
                    h_prev[i] = widen(next[i].h_prev);
                    r[i] = widen(next[i].r);
                    dh[i] += widen(next[i].dy);
                    gradients[i] = cell_backward(next[i].gates(), h_prev[i], dh[i]);
                }
                if (!own[i].mine) continue;
#if RESET_AFTER
                exchange.publish(0, phase, own[i].unit, own[i].batch, operand(gradients[i].r));
#endif
                exchange.publish(1, phase, own[i].unit, own[i].batch, operand(gradients[i].z));
                exchange.publish(2, phase, own[i].unit, own[i].batch, operand(gradients[i].hh));
            }
            // Stores come after an arrival, which would wait for them where it is a release.
            const auto store_gradients = [&] {
#pragma unroll
                for (int i = 0; i < THREAD_STATES; i++) {
                    if (own[i].real && t < own[i].sequence.length) {
                        const long long row = own[i].sequence.row(t, direction);
                        const Sum read = h_prev[i] * mask[i];
                        store_gate_gradients(da, da_own, previous, own[i].cells, row, gradients[i], r[i], read);
                    }
                }
            };
#if RESET_AFTER
            exchange.arrive<0, 2>(phase);
            load_tape_steps(next, tape, tape_hh, y, h0, dy, own, t - 1, count);
            store_gradients();
            exchange.wait<0, 2>(phase);
            if constexpr (Exchange::DISTANCE > 0) {
                products.product_of_all<Exchange::DISTANCE>(exchange.read<0>(phase));
            } else {
                Products::Sums<1> sums;
                products.multiply<0, 1>(sums, exchange.read<0>(phase));
                exchange.release();
                products.multiply<1, 1>(sums, exchange.read<1>(phase));
                exchange.release();
                products.multiply<2, 1>(sums, exchange.read<2>(phase));
                products.store<0, 1>(sums);
            }
#else
            exchange.arrive<1, 2>(phase);
            load_tape_steps(next, tape, tape_hh, y, h0, dy, own, t - 1, count);
            exchange.wait<1, 2>(phase);
            products.product<2, 1>(exchange.read<2>(phase));
            __syncthreads();
#pragma unroll
            for (int i = 0; i < THREAD_STATES; i++) {
                if (!own[i].mine) continue;
                if (own[i].real && t < own[i].sequence.length) {
                    const Sum drh = products.total(2, own[i].batch, own[i].unit) * mask[i];
                    gradients[i].r = cell_backward_reset(r[i], h_prev[i], drh, dh[i]);
                }
                exchange.publish(0, phase, own[i].unit, own[i].batch, operand(gradients[i].r));
            }
            exchange.arrive<0, 0>(phase);
            store_gradients();
            Products::Sums<1> sums;
            products.multiply<1, 1>(sums, exchange.read<1>(phase));  // while the other blocks publish
            exchange.release();
            exchange.wait<0, 0>(phase);
            products.multiply<0, 1>(sums, exchange.read<0>(phase));
            products.store<0, 1>(sums);
#endif
            __syncthreads();
#pragma unroll
            for (int i = 0; i < THREAD_STATES; i++) {
                if (own[i].mine) dh[i] += mask[i] * products.total(0, own[i].batch, own[i].unit);
            }
        }
#pragma unroll
        for (int i = 0; i < THREAD_STATES; i++) {
            if (own[i].real) dh0[own[i].cells.state(own[i].sequence.n, count)] = narrow(dh[i]);
        }
    }
}

#endif  // PERSISTENT and BACKWARD
