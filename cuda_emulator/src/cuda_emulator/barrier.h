// Barriers in shared memory of one arrival a phase, and the asynchronous stores whose bytes they count (PTX ISA 9.0,
// 9.7.13.15, mbarrier, and 9.7.9.12, st.async). emulator.h includes this file at its end.
#pragma once

namespace cuda_emulator {
namespace {

const long MOST_BYTES = (1 << 20) - 1;  // that a barrier can count

MemoryBarrier& initialised(const void* barrier, const char* user) {
    const auto found = barriers.find(barrier);
    if (found == barriers.end()) CUDA_EMULATOR_FAIL(MISUSE, "%s with a barrier that is not initialised", user);
    return found->second;
}
MemoryBarrier& own_barrier(const void* barrier, const char* user) {
    if (holder(barrier, 8, user) != current->block) CUDA_EMULATOR_FAIL(MISUSE, "%s of another block's barrier", user);
    return initialised(barrier, user);
}

// Counts announced bytes, or landed ones, which are negative. Returns whether that ends the phase.
bool count(MemoryBarrier& barrier, long bytes) {
    ++progress;
    barrier.missing += bytes;
    if (std::labs(barrier.missing) > MOST_BYTES) report(MISUSE, "a barrier cannot count %ld bytes", barrier.missing);
    if (!barrier.arrived || barrier.missing != 0) return false;
    barrier.arrived = false;
    ++barrier.phase;
    return true;
}
// Returns whether that ends the phase, since all bytes have come early.
bool expect(const void* barrier, unsigned bytes) {
    MemoryBarrier& mine = own_barrier(barrier, "barrier_expect");
    if (mine.arrived) CUDA_EMULATOR_FAIL(MISUSE, "barrier_expect twice in a phase");
    mine.arrived = true;
    const bool completed = count(mine, bytes);
    if (outcome != FINE) leave();
    return completed;
}

void send(void* to, const void* barrier, uint4 value, std::function<void(bool)> landed) {
    const unsigned block = holder(to, 16, "store_async");
    if (cluster_blocks == 1) CUDA_EMULATOR_FAIL(MISUSE, "store_async needs a cluster of several blocks");
    if (holder(barrier, 8, "store_async") != block)
        CUDA_EMULATOR_FAIL(MISUSE, "store_async to one block with the barrier of another");
    const unsigned rounds = random64() % (1u << random64() % 7);
    flights.push_back({rounds, current->block, block, static_cast<unsigned char*>(to),
                       &initialised(barrier, "store_async"), value, std::move(landed)});
}
void land() {
    for (size_t i = 0; i < flights.size() && outcome == FINE;) {
        if (flights[i].rounds-- > 0) {
            ++i;
            continue;
        }
        std::swap(flights[i], flights.back());
        const Flight flight = std::move(flights.back());
        flights.pop_back();
        if (!blocks[flight.to].alive)
            return report(OUT_OF_BOUNDS, "block %u: store_async to block %u, which ended before it landed", flight.from,
                          flight.to);
        memcpy(flight.at, &flight.value, 16);
        const bool completed = count(*flight.barrier, -16);
        if (flight.landed) flight.landed(completed);
    }
}

}  // namespace
}  // namespace cuda_emulator

namespace {

using Barrier = unsigned long long;

void barrier_init(Barrier* barrier) {
    using namespace cuda_emulator;
    if (holder(barrier, 8, "barrier_init") != current->block)
        CUDA_EMULATOR_FAIL(MISUSE, "barrier_init of another block's barrier");
    if (!barriers.emplace(barrier, MemoryBarrier{}).second)
        CUDA_EMULATOR_FAIL(MISUSE, "barrier_init twice of the same barrier");
}
void barrier_expect(Barrier* barrier, unsigned bytes) { cuda_emulator::expect(barrier, bytes); }
bool barrier_passed(Barrier* barrier, unsigned parity) {
    using namespace cuda_emulator;
    const MemoryBarrier& mine = own_barrier(barrier, "barrier_passed");
    if (parity > 1) CUDA_EMULATOR_FAIL(MISUSE, "barrier_passed with parity %u", parity);
    give_way(BARRIER_PASSED);
    return mine.phase % 2 != parity;  // whether the last phase of that parity has ended
}
void store_async(void* own, Barrier* barrier, unsigned rank, uint4 value) {
    cuda_emulator::send(cluster_map(own, rank), cluster_map(barrier, rank), value, {});
}

}  // namespace
