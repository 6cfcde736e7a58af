// What all kernels share: the numbers they read and write, where a thread stands, activations.
//
// Compiled with -fmad=false: a product and a sum are fused where it says fmaf and nowhere else, so that results do not
// depend on what the compiler, or the driver's, finds to fuse. Nothing here adds with atomics, and the order of every sum
// follows from shapes alone: two runs give the same bits.
#pragma once

typedef long long index_t;

// The conversions of the hardware. The emulated GPU has its own.
#ifdef __CUDACC__
__device__ __forceinline__ float f16_to_float(unsigned short bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

__device__ __forceinline__ unsigned short float_to_f16(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
#endif

// bfloat16 as the upper half of a float: Intel, "BFLOAT16 - Hardware Numerics Definition" (2018).
struct bf16 {
    unsigned short bits;
};

// IEEE 754 binary16.
struct f16 {
    unsigned short bits;
};

__device__ __forceinline__ float widen(float x) { return x; }

__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((unsigned int)x.bits << 16); }

__device__ __forceinline__ float widen(f16 x) { return f16_to_float(x.bits); }

__device__ __forceinline__ void narrow(float x, float* out) { *out = x; }

// Rounds to the nearest, ties to even; from 65520 on to infinity.
__device__ __forceinline__ void narrow(float x, f16* out) { out->bits = float_to_f16(x); }

// Rounds to the nearest, ties to even; a NaN stays one.
__device__ __forceinline__ void narrow(float x, bf16* out) {
    unsigned int bits = __float_as_uint(x);
    bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
    unsigned int rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    out->bits = (unsigned short)(is_nan ? ((bits >> 16) | 0x40u) : rounded);
}

// This thread's place among all along x, and how many there are: loops over numbers go in these strides.
__device__ __forceinline__ index_t first_index() { return (index_t)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ __forceinline__ index_t stride() { return (index_t)gridDim.x * blockDim.x; }

// i / by, and what is left: in 32 bits where that will do, since a division in 64 takes four times as long.
__device__ __forceinline__ index_t divide(index_t i, int by, int* rest) {
    if (i <= 0x7fffffff) {
        unsigned int quotient = (unsigned int)i / (unsigned int)by;
        *rest = (int)((unsigned int)i - quotient * (unsigned int)by);
        return quotient;
    }
    *rest = (int)(i % by);
    return i / by;
}

__device__ __forceinline__ int remainder(index_t i, int by) {
    int rest;
    divide(i, by, &rest);
    return rest;
}

// In the order of ops::Activation.
enum { NONE = 0, RELU = 1, RELU6 = 2, SILU = 3, SIGMOID = 4, GELU = 5, HARD_SWISH = 6, HARD_SIGMOID = 7 };

// Φ(x), the share of the standard normal distribution below x.
__device__ __forceinline__ float normal_share(float x) { return 0.5f * erfcf(-0.70710678f * x); }

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// A NaN stays one.
__device__ __forceinline__ float hard_sigmoid(float x) {
    float shifted = x + 3.0f;
    return (shifted < 0.0f ? 0.0f : (6.0f < shifted ? 6.0f : shifted)) * (1.0f / 6.0f);
}

// A NaN stays one in either clamp: hiding it would hide that training has failed.
__device__ __forceinline__ float activated(int activation, float x) {
    switch (activation) {
        case RELU: return x < 0.0f ? 0.0f : x;
        case RELU6: return x < 0.0f ? 0.0f : (6.0f < x ? 6.0f : x);
        case SILU: return x * sigmoid(x);
        case SIGMOID: return sigmoid(x);
        case GELU: return x * normal_share(x);
        case HARD_SWISH: return x * hard_sigmoid(x);
        case HARD_SIGMOID: return hard_sigmoid(x);
        default: return x;
    }
}

// The gradient of x given that of its activation. A clamp may be given its value in place of x; nothing flows at its ends,
// as PyTorch has it.
__device__ __forceinline__ float activation_gradient(int activation, float grad, float x) {
    switch (activation) {
        case RELU: return 0.0f < x ? grad : 0.0f;
        case RELU6: return 0.0f < x && x < 6.0f ? grad : 0.0f;
        case SILU: {
            float level = sigmoid(x);
            return grad * level * (1.0f + x * (1.0f - level));
        }
        case SIGMOID: {
            float level = sigmoid(x);
            return grad * (1.0f - level) * level;
        }
        case GELU: return grad * (normal_share(x) + x * (0.39894228f * expf(-0.5f * x * x)));
        case HARD_SWISH: return x <= -3.0f ? 0.0f : (x < 3.0f ? grad * (x * (1.0f / 3.0f) + 0.5f) : grad);
        case HARD_SIGMOID: return -3.0f < x && x < 3.0f ? grad * (1.0f / 6.0f) : 0.0f;
        default: return grad;
    }
}

// Sums of columns are made by blocks of COLUMNS by LANES threads. Each sums every LANES-th row; then halves are added to
// halves, and every lane has the result.
#define COLUMNS 32
#define LANES 16

__device__ __forceinline__ double over_lanes(double sum, double (*sums)[COLUMNS]) {
    sums[threadIdx.y][threadIdx.x] = sum;
    for (int half = LANES / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.y < half) sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];
    }
    __syncthreads();
    sum = sums[0][threadIdx.x];
    __syncthreads();
    return sum;
}

// The partial sums [chunks, count] of number `i`, by all lanes.
__device__ __forceinline__ double over_chunks(
    index_t count, int chunks, const double* partial, index_t i, double (*sums)[COLUMNS]) {
    double sum = 0.0;
    if (i < count) {
        for (int chunk = threadIdx.y; chunk < chunks; chunk += LANES) sum += partial[chunk * count + i];
    }
    return over_lanes(sum, sums);
}

// A block of THREADS joins what its threads have, halves with halves.
#define THREADS 128

struct Sum {
    static __device__ double join(double a, double b) { return a + b; }
};

struct Maximum {
    static __device__ double join(double a, double b) { return a > b ? a : b; }
};

template <typename Join>
__device__ __forceinline__ double over_block(double value, double* values) {
    values[threadIdx.x] = value;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half) values[threadIdx.x] = Join::join(values[threadIdx.x], values[threadIdx.x + half]);
    }
    __syncthreads();
    value = values[0];
    __syncthreads();
    return value;
}

// Makes NAME##_f32, NAME##_bf16 and NAME##_f16 of a template over the type of activations.
#define TYPED(NAME, PARAMETERS, ARGUMENTS)                                                        \
    extern "C" __global__ void NAME##_f32 PARAMETERS(float) { NAME<float> ARGUMENTS; }           \
    extern "C" __global__ void NAME##_bf16 PARAMETERS(bf16) { NAME<bf16> ARGUMENTS; }            \
    extern "C" __global__ void NAME##_f16 PARAMETERS(f16) { NAME<f16> ARGUMENTS; }
