// -- numbers: the types of a precision, conversions, sigmoid and tanh ------------------------------------------------------

template <Precision PRECISION_>
struct Types {
    typedef float Number, Sum, Operand;
    __device__ __forceinline__ static Sum widen(Number number) { return number; }
    __device__ __forceinline__ static Number narrow(Sum sum) { return sum; }
    __device__ __forceinline__ static Operand operand(Sum sum) { return sum; }
};

template <>
struct Types<Precision::TF32> : Types<Precision::FLOAT32> {
    __device__ __forceinline__ static float operand(float sum) { return to_tf32(sum); }
};

// Its operands are split where they are multiplied.
template <>
struct Types<Precision::TF32X3> : Types<Precision::FLOAT32> {};

template <>
struct Types<Precision::FLOAT16> {
    typedef unsigned short Number, Operand;
    typedef float Sum;
    __device__ __forceinline__ static Sum widen(Number number) { return from_f16(number); }
    __device__ __forceinline__ static Number narrow(Sum sum) { return to_f16(sum); }
    __device__ __forceinline__ static Operand operand(Sum sum) { return to_f16(sum); }
};

template <>
struct Types<Precision::BFLOAT16> {
    typedef unsigned short Number, Operand;
    typedef float Sum;
    __device__ __forceinline__ static Sum widen(Number number) { return from_bf16(number); }
    __device__ __forceinline__ static Number narrow(Sum sum) { return to_bf16(sum); }
    __device__ __forceinline__ static Operand operand(Sum sum) { return to_bf16(sum); }
};

template <>
struct Types<Precision::FLOAT64> {
    typedef double Number, Sum, Operand;
    __device__ __forceinline__ static Sum widen(Number number) { return number; }
    __device__ __forceinline__ static Number narrow(Sum sum) { return sum; }
    __device__ __forceinline__ static Operand operand(Sum sum) { return sum; }
};

typedef Types<VARIANT_PRECISION>::Number Number;    // the type of arrays
typedef Types<VARIANT_PRECISION>::Sum Sum;          // the type of sums
typedef Types<VARIANT_PRECISION>::Operand Operand;  // the type that products read

__device__ __forceinline__ Sum widen(Number number) { return Types<VARIANT_PRECISION>::widen(number); }
__device__ __forceinline__ Number narrow(Sum sum) { return Types<VARIANT_PRECISION>::narrow(sum); }
__device__ __forceinline__ Operand operand(Sum sum) { return Types<VARIANT_PRECISION>::operand(sum); }

__device__ __forceinline__ double sigmoid(double a) { return 1.0 / (1.0 + exp(-a)); }
__device__ __forceinline__ double hyperbolic_tangent(double a) { return tanh(a); }

// Where products are rounded to less than a float; the errors are below 3e-7.
constexpr bool FAST_FUNCTIONS = MATRIX_UNITS && VARIANT_PRECISION != Precision::TF32X3;

__device__ __forceinline__ float sigmoid(float a) {
    if constexpr (FAST_FUNCTIONS) return fast_quotient(1.0f, 1.0f + fast_exponential(-a));
    return 1.0f / (1.0f + expf(-a));
}
__device__ __forceinline__ float hyperbolic_tangent(float a) {
    if constexpr (FAST_FUNCTIONS) return 1.0f - fast_quotient(2.0f, 1.0f + fast_exponential(2.0f * a));
    return tanhf(a);
}
