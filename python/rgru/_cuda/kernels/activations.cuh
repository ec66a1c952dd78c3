// -- activations: the functions of a cell, and their backward passes from their values --------------------------------
// `d` is the gradient of the value. The plain cell has functions of its own, so that it pays for no other.

#ifndef COMMON

__device__ __forceinline__ Sum sigmoid_backward(Sum value, Sum d) { return d * value * (Sum(1) - value); }
__device__ __forceinline__ Sum tanh_backward(Sum value, Sum d) { return d * (Sum(1) - value * value); }

#ifndef CUSTOM_CELL

__device__ __forceinline__ Sum gate_of(Sum a) { return sigmoid(a); }
__device__ __forceinline__ Sum gate_backward(Sum gate, Sum d) { return sigmoid_backward(gate, d); }
__device__ __forceinline__ Sum candidate_of(Sum a) { return hyperbolic_tangent(a); }
__device__ __forceinline__ Sum candidate_backward(Sum c, Sum d) { return tanh_backward(c, d); }
__device__ __forceinline__ Sum clipped_state(Sum h) { return h; }
__device__ __forceinline__ Sum clipped_state_backward(Sum, Sum d) { return d; }

#else

// As Activation on the host.
enum class Activation { SIGMOID, HARD_SIGMOID, TANH, RELU, LINEAR, SOFTSIGN, ELU };

// All functions increase: so the value is clipped instead of the argument, and where it has reached an end, of the clip
// or its own, the function is constant.
struct GateFunction {
    static constexpr Activation KIND = static_cast<Activation>(GATE_KIND);
    static constexpr Sum ALPHA = Sum(GATE_ALPHA), BETA = Sum(GATE_BETA), LOW = Sum(GATE_LOW), HIGH = Sum(GATE_HIGH);
    static constexpr bool HAS_LOW = GATE_BOUNDS & 1, HAS_HIGH = GATE_BOUNDS & 2;
};

struct CandidateFunction {
    static constexpr Activation KIND = static_cast<Activation>(CANDIDATE_KIND);
    static constexpr Sum ALPHA = Sum(CANDIDATE_ALPHA), BETA = Sum(CANDIDATE_BETA);
    static constexpr Sum LOW = Sum(CANDIDATE_LOW), HIGH = Sum(CANDIDATE_HIGH);
    static constexpr bool HAS_LOW = CANDIDATE_BOUNDS & 1, HAS_HIGH = CANDIDATE_BOUNDS & 2;
};

__device__ __forceinline__ float less_one_exponential(float a) { return expm1f(a); }
__device__ __forceinline__ double less_one_exponential(double a) { return expm1(a); }
__device__ __forceinline__ Sum magnitude(Sum a) { return a < Sum(0) ? -a : a; }

// The function before its ends.
template <class Function>
__device__ __forceinline__ Sum curve(Sum a) {
    if constexpr (Function::KIND == Activation::SIGMOID) return sigmoid(a);
    if constexpr (Function::KIND == Activation::HARD_SIGMOID) return Function::ALPHA * a + Function::BETA;
    if constexpr (Function::KIND == Activation::TANH) return hyperbolic_tangent(a);
    if constexpr (Function::KIND == Activation::SOFTSIGN) return a / (Sum(1) + magnitude(a));
    if constexpr (Function::KIND == Activation::ELU) return a > Sum(0) ? a : Function::ALPHA * less_one_exponential(a);
    return a;
}

// NaN stays NaN.
template <class Function>
__device__ __forceinline__ Sum activated(Sum a) {
    Sum value = curve<Function>(a);
    if constexpr (Function::HAS_LOW) value = value < Function::LOW ? Function::LOW : value;
    if constexpr (Function::HAS_HIGH) value = value > Function::HIGH ? Function::HIGH : value;
    return value;
}

template <class Function>
__device__ __forceinline__ Sum slope_times(Sum value, Sum d) {
    if constexpr (Function::KIND == Activation::SIGMOID) return sigmoid_backward(value, d);
    if constexpr (Function::KIND == Activation::HARD_SIGMOID) return d * Function::ALPHA;
    if constexpr (Function::KIND == Activation::TANH) return tanh_backward(value, d);
    if constexpr (Function::KIND == Activation::SOFTSIGN) {
        const Sum rest = Sum(1) - magnitude(value);
        return d * rest * rest;
    }
    if constexpr (Function::KIND == Activation::ELU) return value > Sum(0) ? d : d * (value + Function::ALPHA);
    return d;
}

// Values come from memory: the ends are rounded as they are.
template <class Function>
__device__ __forceinline__ Sum activated_backward(Sum value, Sum d) {
    Sum product = slope_times<Function>(value, d);
    if constexpr (Function::HAS_LOW) product = value <= widen(narrow(Function::LOW)) ? Sum(0) : product;
    if constexpr (Function::HAS_HIGH) product = value >= widen(narrow(Function::HIGH)) ? Sum(0) : product;
    return product;
}

__device__ __forceinline__ Sum gate_of(Sum a) { return activated<GateFunction>(a); }
__device__ __forceinline__ Sum gate_backward(Sum gate, Sum d) { return activated_backward<GateFunction>(gate, d); }
__device__ __forceinline__ Sum candidate_of(Sum a) { return activated<CandidateFunction>(a); }
__device__ __forceinline__ Sum candidate_backward(Sum c, Sum d) { return activated_backward<CandidateFunction>(c, d); }

#ifdef STATE_CLIP
__device__ __forceinline__ Sum clipped_state(Sum h) {
    constexpr Sum END = Sum(STATE_CLIP);
    return h > END ? END : h < -END ? -END : h;
}
// The state before it is clipped is computed again, from states that are rounded as the end is here: one at the end that
// a closed gate keeps is not beyond it.
__device__ __forceinline__ Sum clipped_state_backward(Sum h, Sum d) {
    return magnitude(h) > widen(narrow(Sum(STATE_CLIP))) ? Sum(0) : d;
}
#else
__device__ __forceinline__ Sum clipped_state(Sum h) { return h; }
__device__ __forceinline__ Sum clipped_state_backward(Sum, Sum d) { return d; }
#endif

#endif  // CUSTOM_CELL
#endif  // not COMMON
