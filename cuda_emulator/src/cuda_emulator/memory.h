// The memory of kernels that ptx.py has translated: its spaces, their bounds, and the order of accesses.
//
// An access must be aligned, and be within the shared memory of its cluster or an array of the launch. Two accesses to
// the same bytes by two threads, one of them a write, need barriers or a release and an acquire between them (PTX ISA
// 9.0, chapter 8), in whatever order the threads have run: each thread has a clock, and knows what it has seen of the
// clocks of all others (Flanagan and Freund, FastTrack, 2009). Relaxed accesses are no races and order nothing; bytes
// may be accessed either only so, or never so. A relaxed load of a packet returns one of the last two values at random,
// but no older one than its thread, or what comes before the load, has written or read.
//
// An asynchronous store comes after all that its thread has seen, and before what follows a wait for the phase in which
// its bytes are counted: nothing else orders it, not even for its own thread. So the writer of such bytes is not a
// thread but the barrier, whose clock is its phase.
#pragma once
#include <map>

typedef unsigned __int128 uint128_t;

namespace cuda_emulator {
namespace {

enum Order { WEAK, RELAXED, ACQUIRE };
enum Space { GENERIC, GLOBAL, SHARED, CLUSTER };

const uint64_t SHARED_WINDOW = 1024;  // where a launch's shared memory begins: a chip keeps some for itself
const unsigned RANK_AT = 24;          // bit in the addresses of a cluster where one more than the block's rank begins

// ---- clocks ----

const unsigned MOST_THREADS = 16 << 10;  // of a launch: their clocks, of 4 bytes for each pair, take a gigabyte
typedef std::vector<uint32_t> Clock;  // by thread, what has been seen of it; nothing of those beyond its end
std::vector<Clock> clocks;            // by thread, of the others
std::vector<uint32_t> times;          // by thread, its own

unsigned own() { return current->block * blockDim.x + current->thread; }
void join(Clock& into, const Clock& from) {
    if (into.size() < from.size()) into.resize(from.size());
    for (size_t i = 0; i < from.size(); ++i) into[i] = into[i] < from[i] ? from[i] : into[i];
}
// Adds what a thread has seen so far.
void give(Clock& to) {
    const unsigned me = own();
    join(to, clocks[me]);
    if (to.size() <= me) to.resize(me + 1);
    to[me] = times[me]++;
}

// A barrier. No thread can arrive at a turn while others still need what was given two turns before.
struct Meeting {
    Clock seen[2];
    unsigned turn[2] = {~0u, ~0u};

    void arrive(unsigned now) {
        if (times.size() > MOST_THREADS) CUDA_EMULATOR_FAIL(MISUSE, "%zu threads are too many to be watched", times.size());
        if (turn[now % 2] != now) turn[now % 2] = now, seen[now % 2].clear();
        give(seen[now % 2]);
    }
    void depart(unsigned now) { join(clocks[own()], seen[now % 2]); }
};
struct Turns { unsigned block, warp, cluster; };  // barriers that a thread has passed
std::vector<Turns> turns;
std::vector<Meeting> of_block, of_warp, of_cluster;
std::map<uint64_t, Clock> released;  // by address

// ---- the accesses to every two bytes ----

const uint32_t NO_THREAD = ~0u, BEGINNING = ~0u - 1;

struct Seen { uint32_t thread, time; };
struct Cell {
    Seen writer = {NO_THREAD, 0};
    std::vector<Seen> readers;  // since then, except those that come before later reads
    bool weak = false, relaxed = false;
};
struct Area {
    uint64_t begin, size;
    std::vector<Cell> cells;
};
std::vector<Area> arrays, shared;  // shared: by block
std::vector<Clock> ended;          // by block: what its threads had seen at their ends
bool fresh;

bool before(Seen one) {
    const Clock& mine = clocks[own()];
    return one.thread == own() || (one.thread < mine.size() && mine[one.thread] >= one.time);
}

void race(Area& area, uint64_t offset, const char* now, Seen other, const char* then) {
    const bool by_thread = other.thread < times.size();
    const std::string who = by_thread ? "block " + std::to_string(other.thread / blockDim.x) + ", thread " +
                                            std::to_string(other.thread % blockDim.x)
                                      : "an asynchronous store";
    const bool in_shared = &area >= shared.data() && &area < shared.data() + shared.size();
    const size_t index = &area - (in_shared ? shared : arrays).data();
    CUDA_EMULATOR_FAIL(
        RACE, "%s byte %llu of %s %zu, which %s %s, without a barrier between them", now,
        static_cast<unsigned long long>(offset), in_shared ? "the shared memory of block" : "array", index, who.c_str(),
        then);
}
void note(Area& area, uint64_t offset, uint64_t size, bool write, bool relaxed) {
    const unsigned me = own();
    for (uint64_t at = offset / 2; at < (offset + size + 1) / 2; ++at) {
        Cell& cell = area.cells[at];
        (relaxed ? cell.relaxed : cell.weak) = true;
        if (cell.relaxed && cell.weak)
            CUDA_EMULATOR_FAIL(RACE, "relaxed and other accesses to the same bytes");
        if (relaxed) continue;
        const char* now = write ? "writes" : "reads";
        if (cell.writer.thread == BEGINNING) {  // shared memory exists from its block's beginning
            const unsigned first = static_cast<unsigned>(&area - shared.data()) * blockDim.x;
            if (first / blockDim.x != current->block && !before({first, 1}))
                race(area, at * 2, now, {first, 0}, "may not have, since it may not have begun");
        } else if (cell.writer.thread != NO_THREAD && !before(cell.writer)) {
            race(area, at * 2, now, cell.writer, "has written");
        }
        if (write) {
            for (Seen reader : cell.readers)
                if (!before(reader)) race(area, at * 2, now, reader, "has read");
            cell.readers.clear();
            cell.writer = {me, times[me]};
        } else {
            auto over = [](Seen reader) { return before(reader); };
            cell.readers.erase(std::remove_if(cell.readers.begin(), cell.readers.end(), over), cell.readers.end());
            cell.readers.push_back({me, times[me]});
        }
    }
}

// ---- addresses ----

bool within(const Area& area, uint64_t address, uint64_t size) {
    return address >= area.begin && address + size <= area.begin + area.size;
}
struct Place {
    Area& area;
    uint64_t offset;
    unsigned char* pointer() const { return reinterpret_cast<unsigned char*>(area.begin + offset); }
};
Place place(Space space, uint64_t address, uint64_t size, bool write) {
    const char* names[] = {"", "global ", "shared ", "the cluster's shared "};
    const unsigned first = current->block - current->block % cluster_blocks;
    const unsigned rank = space == CLUSTER ? address >> RANK_AT : 0;
    if (rank > cluster_blocks) CUDA_EMULATOR_FAIL(OUT_OF_BOUNDS, "an address of block %u of the cluster", rank - 1);
    const unsigned block = rank ? first + rank - 1 : current->block;
    if (space == SHARED || space == CLUSTER)
        address += shared[block].begin - SHARED_WINDOW - (uint64_t(rank) << RANK_AT);
    if (address % size) CUDA_EMULATOR_FAIL(MISUSE, "%llu bytes at an address that is not a multiple of that",
                                       static_cast<unsigned long long>(size));
    Area* found = nullptr;
    if (space != GLOBAL) {
        for (unsigned peer = first; peer < first + cluster_blocks; ++peer) {
            if (within(shared[peer], address, size) && (space == GENERIC || peer == block)) found = &shared[peer];
        }
        if (found && !blocks[found - shared.data()].alive)
            CUDA_EMULATOR_FAIL(OUT_OF_BOUNDS, "shared memory of a block that has ended");
    }
    if (space == GENERIC || space == GLOBAL) {
        for (Area& array : arrays)
            if (within(array, address, size)) found = &array;
    }
    if (!found)
        CUDA_EMULATOR_FAIL(OUT_OF_BOUNDS, "%s %llu bytes of %smemory that it was not given",
                       write ? "writes" : "reads", static_cast<unsigned long long>(size), names[space]);
    return {*found, address - found->begin};
}
unsigned char* locate(Space space, uint64_t address, uint64_t size, bool write, bool relaxed) {
    const Place found = place(space, address, size, write);
    note(found.area, found.offset, size, write, relaxed);
    return found.pointer();
}

// ---- 9.7.9.8, 9.7.9.11: loads and stores ----

template <class Register, class T>
void put(Register& to, T value);

// The bytes that relaxed stores have written, and the value before.
struct Packet {
    uint4 previous;
    std::vector<Seen> known;  // the store of the last value, and its loads
};
std::map<const void*, Packet> packets;  // by address

uint4 load_relaxed(const uint4* from) {
    const uint4 last = load_packet(from);
    const auto found = packets.find(from);
    if (found == packets.end()) return last;
    Packet& packet = found->second;
    if (std::any_of(packet.known.begin(), packet.known.end(), before)) return last;
    if (random64() % 2) return packet.previous;
    packet.known.push_back({own(), times[own()]});
    return last;
}
void store_relaxed(uint4* to, uint4 value) {
    packets[to] = {*to, {{own(), times[own()]}}};
    store_packet(to, value);
}

template <Order order, Space space, class T, class... Registers>
void load(uint64_t address, Registers&... to) {
    const unsigned char* from = locate(space, address, sizeof...(to) * sizeof(T), false, order != WEAK);
    T values[sizeof...(to)];
    if constexpr (order == ACQUIRE) {
        static_assert(sizeof...(to) * sizeof(T) == 4);
        values[0] = load_acquire(reinterpret_cast<const unsigned*>(from));
        join(clocks[own()], released[address]);
    } else if constexpr (order == RELAXED) {
        static_assert(sizeof...(to) * sizeof(T) == 16);
        const uint4 packet = load_relaxed(reinterpret_cast<const uint4*>(from));
        memcpy(values, &packet, 16);
    } else {
        memcpy(values, from, sizeof values);
    }
    size_t i = 0;
    (put(to, values[i++]), ...);
}
template <Order order, Space space, class T, class... Values>
void store(uint64_t address, Values... given) {
    static_assert(order != ACQUIRE);
    unsigned char* to = locate(space, address, sizeof...(given) * sizeof(T), true, order != WEAK);
    const T values[] = {given...};
    if constexpr (order == RELAXED) {
        static_assert(sizeof values == 16);
        uint4 packet;
        memcpy(&packet, values, 16);
        store_relaxed(reinterpret_cast<uint4*>(to), packet);
    } else {
        memcpy(to, values, sizeof values);
    }
}
void add_release(uint64_t address, uint32_t value) {
    auto to = reinterpret_cast<unsigned*>(locate(GLOBAL, address, 4, true, true));
    give(released[address]);
    ::add_release(to, value);
}

// ---- 9.7.13: barriers ----

void ptx_bar_sync(uint32_t number) {
    if (number != 0) CUDA_EMULATOR_FAIL(MISUSE, "barrier %u, and only barrier 0 is known here", number);
    Meeting& meeting = of_block[current->block];
    const unsigned now = turns[own()].block++;
    meeting.arrive(now);
    __syncthreads();
    meeting.depart(now);
}
void ptx_bar_warp_sync(uint32_t mask) {
    Meeting& meeting = of_warp[current->warp];
    const unsigned now = turns[own()].warp++;
    if (mask != ~0u) CUDA_EMULATOR_FAIL(MISUSE, "only whole warps can wait here");
    meeting.arrive(now);
    __syncwarp(mask);
    meeting.depart(now);
}
void ptx_barrier_cluster_arrive_release() {
    of_cluster[current->block / cluster_blocks].arrive(turns[own()].cluster);
    cluster_arrive();
}
void ptx_barrier_cluster_wait_acquire() {
    cluster_wait();
    of_cluster[current->block / cluster_blocks].depart(turns[own()].cluster++);
}

// ---- 9.7.13.15, 9.7.9.12: barriers in shared memory, and asynchronous stores ----

const uint32_t IN_FLIGHT = ~0u;  // a phase that never ends

struct Counted {
    Clock given, completed;  // by what is counted so far; by the phases that have ended
    uint32_t index;          // of its own clock, among those of the threads
    Seen initialisation;
};
std::map<const void*, Counted> counted;  // by address
std::vector<Clock> observed;             // by thread, what a fence lets it see: of relaxed waits

// To be called once what ends the phase is given.
void complete(Counted& one, uint32_t phases) {
    if (one.given.size() <= one.index) one.given.resize(one.index + 1);
    one.given[one.index] = phases;
    one.completed = one.given;
}
Counted& counted_at(const void* barrier, const char* user) {
    initialised(barrier, user);
    Counted& found = counted[barrier];
    if (!before(found.initialisation))
        CUDA_EMULATOR_FAIL(RACE, "a barrier in shared memory is used, and nothing orders that after its initialisation");
    return found;
}
void barrier_init(uint64_t address, uint32_t arrivals) {
    if (arrivals != 1) CUDA_EMULATOR_FAIL(MISUSE, "only barriers of one arrival are known here, not of %u", arrivals);
    const auto barrier = reinterpret_cast<Barrier*>(locate(SHARED, address, 8, true, true));
    ::barrier_init(barrier);
    counted[barrier] = {{}, {}, static_cast<uint32_t>(times.size() + counted.size()), {own(), times[own()]}};
}
void barrier_expect(uint64_t address, uint32_t bytes) {
    const void* barrier = locate(SHARED, address, 8, true, true);
    Counted& mine = counted_at(barrier, "barrier_expect");
    give(mine.given);
    if (expect(barrier, bytes)) complete(mine, barriers.at(barrier).phase);
}
bool barrier_passed(uint64_t address, uint32_t parity) {
    const auto barrier = reinterpret_cast<Barrier*>(locate(SHARED, address, 8, false, true));
    Counted& mine = counted_at(barrier, "barrier_passed");
    const bool passed = ::barrier_passed(barrier, parity);
    if (passed) join(observed[own()], mine.completed);
    return passed;
}
// Restricted to shared memory: that it orders no accesses of arrays is not checked.
void fence_acquire() { join(clocks[own()], observed[own()]); }
void store_async(uint64_t to, uint64_t barrier_address, uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
    const void* barrier = locate(CLUSTER, barrier_address, 8, true, true);
    Counted& theirs = counted_at(barrier, "store_async");
    const Place target = place(CLUSTER, to, 16, true);
    note(target.area, target.offset, 16, true, false);
    auto written = [target, &theirs](uint32_t phase) {
        for (uint64_t at = target.offset / 2; at < target.offset / 2 + 8; ++at)
            target.area.cells[at].writer = {theirs.index, phase};
    };
    written(IN_FLIGHT);
    Clock seen;
    give(seen);
    const MemoryBarrier& state = barriers.at(barrier);
    send(target.pointer(), barrier, make_uint4(x, y, z, w), [=, &theirs, &state](bool completed) {
        written(completed ? state.phase : state.phase + 1);
        join(theirs.given, seen);
        if (completed) complete(theirs, state.phase);
    });
}

// ---- a thread's beginning and end ----

void memory_begin() {
    if (fresh) {
        fresh = false;
        const unsigned threads = gridDim.x * blockDim.x;
        clocks.assign(threads, Clock());
        times.assign(threads, 1);
        turns.assign(threads, Turns{});
        observed.assign(threads, Clock());
        of_block.assign(gridDim.x, Meeting{});
        of_warp.assign(warps.size(), Meeting{});
        of_cluster.assign(clusters.size(), Meeting{});
        ended.assign(gridDim.x, Clock{});
        Cell untouched;
        untouched.writer = {BEGINNING, 0};
        for (const Block& block : blocks) {
            const std::vector<Cell> cells((shared_bytes + 1) / 2, untouched);
            shared.push_back({reinterpret_cast<uint64_t>(block.shared), shared_bytes, cells});
        }
    }
}
// Accesses of other threads to a block's shared memory must come before the end of its last thread.
void memory_end() {
    const unsigned block = current->block;
    give(ended[block]);
    if (blocks[block].alive > 1) return;
    join(clocks[own()], ended[block]);
    for (size_t at = 0; at < shared[block].cells.size(); ++at) {
        const Cell& cell = shared[block].cells[at];
        if (cell.writer.thread < BEGINNING && !before(cell.writer))
            race(shared[block], at * 2, "ends with", cell.writer, "has written");
        for (Seen reader : cell.readers)
            if (!before(reader)) race(shared[block], at * 2, "ends with", reader, "has read");
    }
}

}  // namespace
}  // namespace cuda_emulator

// Sets the arrays that the next launch may use, and forgets all accesses.
extern "C" __attribute__((visibility("default"))) void cuda_emulator_arrays(
    const uint64_t* begin, const uint64_t* size, int count) {
    using namespace cuda_emulator;
    arrays = shared = {};
    counted = {};
    packets = {};
    clocks = ended = {};
    times = {};
    of_block = of_warp = of_cluster = {};
    released = {};
    fresh = true;
    for (int i = 0; i < count; ++i) {
        Area area{begin[i], size[i], {}};
        for (Area& other : arrays)
            if (other.begin == area.begin && other.size == area.size) area.size = 0;
        area.cells.resize((area.size + 1) / 2);
        arrays.push_back(area);
    }
}
