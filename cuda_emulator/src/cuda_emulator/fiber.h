// Fibers: their stacks, the switch from one to another, and the call of a kernel of any signature.
#pragma once
#include <stddef.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <utility>

// ---- switching from one fiber to another ----

#if defined(__x86_64__) && !defined(CUDA_EMULATOR_UCONTEXT)
#define CUDA_EMULATOR_ASSEMBLY 1
// Leaves the stack of the caller in *from and goes on where the stack `to` was left. System V ABI: besides the stack
// pointer only these six registers outlive a call. (swapcontext would also save the mask of signals: two calls of the
// system each time.)
extern "C" __attribute__((visibility("hidden"))) void cuda_emulator_swap(void** from, void* to);
asm(R"(
.pushsection .text
.type cuda_emulator_swap, @function
cuda_emulator_swap:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
.size cuda_emulator_swap, . - cuda_emulator_swap
.popsection
)");
#endif

namespace cuda_emulator {
namespace {  // nothing here may be shared between two loaded libraries

#ifdef CUDA_EMULATOR_ASSEMBLY
struct Context { void* stack; };
void swap(Context& from, const Context& to) { cuda_emulator_swap(&from.stack, to.stack); }
void prepare(Context& context, unsigned char* stack, size_t size, void (*entry)()) {
    auto top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(stack) + size) & ~uintptr_t(15));
    *--top = nullptr;  // where entry would return to; leaves the stack as the ABI wants it at a function's start
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    context.stack = top;
}
#else
struct Context { ucontext_t context; };
void swap(Context& from, const Context& to) { swapcontext(&from.context, &to.context); }
void prepare(Context& context, unsigned char* stack, size_t size, void (*entry)()) {
    getcontext(&context.context);
    context.context.uc_stack.ss_sp = stack;
    context.context.uc_stack.ss_size = size;
    makecontext(&context.context, entry, 0);
}
#endif

// ---- stacks ----

const size_t STACK = 64 << 10;
const size_t STRIDE = STACK + 320;  // so that the tops of stacks do not share a set of the cache

unsigned char* stack_memory = nullptr;
size_t stack_bytes = 0;

// Room for the stacks of `count` fibers, kept between launches; null if there is none.
unsigned char* stacks(size_t count) {
    const size_t needed = (count + 1) * STRIDE;  // one more below, into which the first stack may overflow
    if (needed > stack_bytes) {
        if (stack_memory) munmap(stack_memory, stack_bytes);
        void* memory = mmap(nullptr, needed, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        const bool failed = memory == MAP_FAILED;
        stack_memory = failed ? nullptr : static_cast<unsigned char*>(memory);
        stack_bytes = failed ? 0 : needed;
    }
    return stack_memory ? stack_memory + STRIDE : nullptr;
}

// Lets the system take the stacks' pages where memory is short. Every compiled variant has stacks of its own, and the
// tests hold hundreds of variants.
void offer_stacks() {
    if (stack_memory) madvise(stack_memory, stack_bytes, MADV_FREE);
}

// ---- calling a kernel of any signature ----

#if defined(__x86_64__)
const size_t INTEGER_REGISTERS = 6;
#elif defined(__aarch64__) && defined(__linux__)
const size_t INTEGER_REGISTERS = 8;
#else
#error "how a kernel is called is known for x86-64 and for Linux on AArch64 only"
#endif
const size_t FLOAT_REGISTERS = 8, STACK_WORDS = 26;
void (*kernel)();
long long integers[INTEGER_REGISTERS], on_stack[STACK_WORDS];
double floats[FLOAT_REGISTERS];

// A function takes its first integers and floats from registers and the rest from the stack, whatever its signature,
// and ignores all other registers and words: so one signature with all of them can call any function.
template <size_t... I, size_t... F, size_t... S>
void call(std::index_sequence<I...>, std::index_sequence<F...>, std::index_sequence<S...>) {
    using Any = void (*)(decltype(I, 0LL)..., decltype(F, 0.0)..., decltype(S, 0LL)...);
    reinterpret_cast<Any>(kernel)(integers[I]..., floats[F]..., on_stack[S]...);
}
void call_kernel() {
    call(std::make_index_sequence<INTEGER_REGISTERS>(), std::make_index_sequence<FLOAT_REGISTERS>(),
         std::make_index_sequence<STACK_WORDS>());
}
bool set_arguments(int count, const uint64_t* bits, const int* is_float) {
    size_t i = 0, f = 0, s = 0;
    for (int n = 0; n < count; ++n) {
        void* slot;
        if (is_float[n] && f < FLOAT_REGISTERS) slot = &floats[f++];
        else if (!is_float[n] && i < INTEGER_REGISTERS) slot = &integers[i++];
        else if (s < STACK_WORDS) slot = &on_stack[s++];
        else return false;
        memcpy(slot, &bits[n], 8);
    }
    return true;
}

}  // namespace
}  // namespace cuda_emulator
