// CUDA on the CPU, for tests: `g++ -include emulator.h -x c++ kernels.cu` compiles kernels to a library.
//
// Every CUDA thread is a fiber, and all blocks of the grid are alive at the same time, on one thread of the system. A
// fiber runs until it waits or polls a counter; then the next one runs, in an order that is shuffled in every round.
// Random warps and blocks are suspended for some rounds. So what depends on a missing barrier depends on the seed.
#pragma once
#include <math.h>
#include <stddef.h>

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "fiber.h"

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)

#define CUDA_EMULATOR_VECTOR2(T, V)                  \
    struct alignas(2 * sizeof(T)) V { T x, y; }; \
    static inline V make_##V(T x, T y) { return {x, y}; }
#define CUDA_EMULATOR_VECTOR4(T, V)                        \
    struct alignas(4 * sizeof(T)) V { T x, y, z, w; }; \
    static inline V make_##V(T x, T y, T z, T w) { return {x, y, z, w}; }
CUDA_EMULATOR_VECTOR2(int, int2)
CUDA_EMULATOR_VECTOR2(unsigned, uint2)
CUDA_EMULATOR_VECTOR2(float, float2)
CUDA_EMULATOR_VECTOR2(double, double2)
CUDA_EMULATOR_VECTOR4(int, int4)
CUDA_EMULATOR_VECTOR4(unsigned, uint4)
CUDA_EMULATOR_VECTOR4(float, float4)

static struct { unsigned x; } threadIdx, blockIdx, blockDim, gridDim;  // set by the scheduler for each fiber

namespace cuda_emulator {
namespace {  // nothing here may be shared between two loaded libraries

// ---- grid, clusters, blocks, warps, threads ----

enum State {
    READY, SYNCTHREADS, SYNCWARP, SHUFFLE, MMA_F16, MMA_BF16, MMA_TF32, CLUSTER_WAIT, LOAD_ACQUIRE, BARRIER_PASSED,
    EXITED
};
const char* const NAMES[] = {"ready",           "at __syncthreads",  "at __syncwarp", "at a __shfl",
                             "at mma f16",      "at mma bf16",       "at mma tf32",   "at cluster_wait",
                             "in load_acquire", "in barrier_passed", "ended"};
enum Outcome { FINE, DEADLOCK, DIVERGENCE, OUT_OF_BOUNDS, MISUSE, RACE };

struct Fiber {
    Context context;
    unsigned block, thread, lane, warp;
    State state;
    unsigned mask;                // lanes that take part in the warp's primitive
    uint64_t value, result;       // of a shuffle
    unsigned source;              // lane that a shuffle reads
    const unsigned *a, *b;        // fragments of an mma
    float* c;
    bool arrived;                 // at the cluster's barrier and not yet waited for it
    unsigned phase;               // the cluster's phase then
};
struct Warp { Fiber* lanes; unsigned alive, waiting; bool still; };
struct Block { unsigned char* shared; unsigned alive, arrived; bool still; };
struct Cluster { unsigned alive, arrived, phase; };
// A barrier in shared memory. A phase ends when its one arrival has come and all bytes have landed that it announced.
struct MemoryBarrier {
    bool arrived = false;
    long missing = 0;  // bytes; below zero if some have landed before they were announced
    unsigned phase = 0;
};
// An asynchronous store on its way between two blocks. It lands some rounds later, and others may overtake it.
struct Flight {
    unsigned rounds, from, to;
    unsigned char* at;
    MemoryBarrier* barrier;
    uint4 value;
    std::function<void(bool completed)> landed;  // told whether the barrier's phase has ended by it
};

const size_t GUARD = 1 << 10;       // bytes before and after a block's shared memory
const unsigned IDLE_ROUNDS = 2000;  // rounds in which fibers only polled counters: none will change any more
const unsigned EPOCH = 8;           // rounds for which random warps and blocks are suspended

std::vector<Fiber> fibers;
std::vector<Warp> warps;
std::vector<Block> blocks;
std::vector<Cluster> clusters;
std::map<const void*, MemoryBarrier> barriers;  // by address
std::vector<Flight> flights;
std::vector<Fiber*> ready, next_round;
Context scheduler;
Fiber* current;
unsigned cluster_blocks, warps_per_block;
size_t shared_bytes;
uint64_t progress, random_state;
Outcome outcome;
std::string message;

void report(Outcome kind, const char* format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    outcome = kind;
    message = text;
}
void leave() { swap(current->context, scheduler); }
// Lets others run; the fiber goes on in the next round.
void give_way(State state) {
    current->state = state;
    next_round.push_back(current);
    leave();
}
#define CUDA_EMULATOR_FAIL(kind, format, ...)                                                                        \
    (report(kind, "block %u, thread %u: " format, current->block, current->thread, ##__VA_ARGS__), leave())

uint64_t random64() {  // splitmix64
    uint64_t x = random_state += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

// The fibers among `count` from `first` that are in `state` run again in the next round.
void release(Fiber* first, unsigned count, State state) {
    ++progress;
    for (Fiber* f = first; f != first + count; ++f)
        if (f->state == state) f->state = READY, next_round.push_back(f);
}
void complete_cluster(unsigned index) {
    Cluster& cluster = clusters[index];
    if (cluster.arrived == 0 || cluster.arrived < cluster.alive) return;
    cluster.arrived = 0;
    ++cluster.phase;
    unsigned threads = cluster_blocks * blockDim.x;
    release(&fibers[index * threads], threads, CLUSTER_WAIT);
}

void perform(Warp& warp, unsigned lanes, State kind);

// If all living lanes of `mask` wait at the same primitive with the same mask, performs it for all of them.
void complete_warp(Warp& warp, unsigned mask, State kind) {
    unsigned lanes = mask & warp.alive;
    if ((warp.waiting & lanes) != lanes) return;
    for (unsigned i = 0; i < 32; ++i)
        if (lanes >> i & 1 && (warp.lanes[i].state != kind || warp.lanes[i].mask != mask)) return;
    perform(warp, lanes, kind);
    warp.waiting &= ~lanes;
    ++progress;
    for (unsigned i = 0; i < 32; ++i)
        if (lanes >> i & 1) warp.lanes[i].state = READY, next_round.push_back(&warp.lanes[i]);
}
void wait_warp(State kind, unsigned mask) {
    Warp& warp = warps[current->warp];
    if (!(mask >> current->lane & 1)) CUDA_EMULATOR_FAIL(MISUSE, "its lane is not in its mask %08x", mask);
    current->state = kind;
    current->mask = mask;
    warp.waiting |= 1u << current->lane;
    complete_warp(warp, mask, kind);
    leave();
}

void end_of_thread() {
    Fiber& me = *current;
    Warp& warp = warps[me.warp];
    Block& block = blocks[me.block];
    Cluster& cluster = clusters[me.block / cluster_blocks];
    ++progress;
    me.state = EXITED;
    warp.alive &= ~(1u << me.lane);
    for (unsigned i = 0; i < 32; ++i)  // lanes that waited only for this one
        if (warp.waiting >> i & 1) complete_warp(warp, warp.lanes[i].mask, warp.lanes[i].state);
    if (--block.alive == 0 && cluster_blocks > 1 && shared_bytes) {  // a cluster may not use the memory of ended blocks
        for (unsigned i = 0; i < shared_bytes; ++i) block.shared[i] = 0xFF;
    }
    if (me.arrived && me.phase == cluster.phase) --cluster.arrived;
    --cluster.alive;
    complete_cluster(me.block / cluster_blocks);
}
void entry() {
    call_kernel();
    end_of_thread();
    leave();
}

// ---- errors ----

void report_deadlock() {
    std::vector<std::pair<std::string, std::vector<unsigned>>> alike;  // states of threads, and the blocks that have them
    unsigned waiting = 0, threads = blockDim.x;
    bool divergent = false;
    for (unsigned block = 0; block < gridDim.x; ++block) {
        unsigned counts[EXITED + 1] = {};
        for (unsigned i = 0; i < threads; ++i) ++counts[fibers[block * threads + i].state];
        std::string text;
        for (int s = 0; s <= EXITED; ++s)
            if (counts[s]) text += (text.empty() ? "" : ", ") + std::to_string(counts[s]) + " " + NAMES[s];
        unsigned alive = threads - counts[EXITED];
        unsigned elsewhere = counts[CLUSTER_WAIT] + counts[LOAD_ACQUIRE] + counts[BARRIER_PASSED];
        waiting += alive;
        divergent |= alive && !elsewhere;  // its threads wait only for each other
        if (!alive) continue;
        auto same = std::find_if(alike.begin(), alike.end(), [&](auto& other) { return other.first == text; });
        if (same == alike.end()) same = alike.insert(same, {text, {}});
        same->second.push_back(block);
    }
    report(divergent ? DIVERGENCE : DEADLOCK, "%s: %u of %u threads wait for ever",
           divergent ? "divergent barrier" : "deadlock", waiting, gridDim.x * threads);
    for (auto& [text, same] : alike) {
        message += "\n  block";
        for (size_t i = 0; i < same.size() && i < 8; ++i) message += (i ? ", " : " ") + std::to_string(same[i]);
        if (same.size() > 8) message += " and " + std::to_string(same.size() - 8) + " more";
        message += ": " + text;
    }
}
// The shared memory has guard zones on both sides; after a cluster's block has ended, it is a guard zone as a whole.
void check_shared() {
    for (unsigned block = 0; block < gridDim.x; ++block) {
        unsigned char* shared = blocks[block].shared;
        ptrdiff_t size = shared_bytes, guard = GUARD;
        for (ptrdiff_t i = -guard; i < size + guard; ++i)
            if (shared[i] != 0xFF && (cluster_blocks > 1 || i < 0 || i >= size))
                return report(OUT_OF_BOUNDS, "block %u: byte %td of its %zu bytes of shared memory was written%s",
                              block, i, shared_bytes, i < 0 || i >= size ? "" : " after it had ended");
    }
}

// ---- the scheduler ----

void land();  // the flights whose time has come

void run() {
    uint64_t seen = progress - 1;
    unsigned idle = 0;
    for (unsigned round = 0;; ++round) {
        land();
        if (outcome != FINE) return;
        if (next_round.empty() && flights.empty()) break;
        idle = progress == seen ? idle + 1 : 0;
        seen = progress;
        if (idle > IDLE_ROUNDS) break;
        if (round % EPOCH == 0) {
            for (Block& block : blocks) block.still = random64() % 4 == 0;
            for (Warp& warp : warps) warp.still = random64() % 4 == 0 || blocks[warp.lanes->block].still;
        }
        ready.swap(next_round);
        next_round.clear();
        for (size_t i = ready.size(); i > 1; --i) std::swap(ready[i - 1], ready[(random64() >> 32) * i >> 32]);
        for (Fiber* fiber : ready) {
            if (warps[fiber->warp].still) {
                next_round.push_back(fiber);
                continue;
            }
            current = fiber;
            threadIdx.x = fiber->thread;
            blockIdx.x = fiber->block;
            fiber->state = READY;
            swap(scheduler, fiber->context);
            if (outcome != FINE) return;
        }
    }
    for (Block& block : blocks)
        if (block.alive) return report_deadlock();
    check_shared();
}

}  // namespace
}  // namespace cuda_emulator

// `bits` holds each argument in 8 bytes. Returns the outcome, and writes its message to `text`.
extern "C" __attribute__((visibility("default"))) int cuda_emulator_launch(
    void (*kernel)(), unsigned grid, unsigned block, unsigned cluster, size_t bytes, uint64_t seed, int count,
    const uint64_t* bits, const int* is_float, char* text, size_t text_size) {
    using namespace cuda_emulator;
    const uint64_t CANARY = 0x5AFE57ACC0FFEE11u;
    outcome = FINE;
    message.clear();
    gridDim.x = grid, blockDim.x = block, cluster_blocks = cluster, shared_bytes = bytes;
    random_state = seed, progress = 0;
    warps_per_block = (block + 31) / 32;
    size_t per_block = (GUARD + bytes + GUARD + 15) / 16 * 16;
    auto shared = static_cast<unsigned char*>(aligned_alloc(16, per_block * grid));
    unsigned char* memory = stacks(size_t(grid) * block);
    if (!set_arguments(count, bits, is_float)) report(MISUSE, "too many arguments");
    if (!memory || !shared) report(MISUSE, "not enough memory for %u blocks of %u threads", grid, block);
    if (outcome == FINE) {
        memset(shared, 0xFF, per_block * grid);  // so that a read of unwritten memory is NaN
        fibers.assign(size_t(grid) * block, Fiber{});
        warps.assign(size_t(grid) * warps_per_block, Warp{});
        clusters.assign(grid / cluster, Cluster{cluster * block, 0, 0});
        blocks.clear(), next_round.clear(), barriers.clear(), flights.clear();
        for (unsigned b = 0; b < grid; ++b) blocks.push_back({shared + b * per_block + GUARD, block, 0, false});
        for (unsigned i = 0; i < grid * block; ++i) {
            Fiber& fiber = fibers[i];
            fiber.block = i / block, fiber.thread = i % block, fiber.lane = fiber.thread % 32;
            fiber.warp = fiber.block * warps_per_block + fiber.thread / 32;
            Warp& warp = warps[fiber.warp];
            if (fiber.lane == 0) warp.lanes = &fiber;
            warp.alive |= 1u << fiber.lane;
            memcpy(memory + i * STRIDE, &CANARY, 8);
            prepare(fiber.context, memory + i * STRIDE, STACK, entry);
            next_round.push_back(&fiber);
        }
        cuda_emulator::kernel = kernel;
        run();
        for (unsigned i = 0; i < grid * block; ++i)
            if (memcmp(memory + i * STRIDE, &CANARY, 8)) report(OUT_OF_BOUNDS, "a thread's stack overflowed");
    }
    offer_stacks();
    free(shared);
    snprintf(text, text_size, "%s", message.c_str());
    return outcome;
}

#include "device.h"

#include "barrier.h"
