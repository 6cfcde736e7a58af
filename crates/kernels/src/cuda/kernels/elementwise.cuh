// Kernels that make one number of one, or of two at the same place.
#pragma once
#include "common.cuh"

template <typename T>
__device__ void activate(index_t count, const T* x, T* out, int activation) {
    for (index_t i = first_index(); i < count; i += stride()) narrow(activated(activation, widen(x[i])), out + i);
}
#define PARAMETERS(T) (index_t count, const T* x, T* out, int activation)
TYPED(activate, PARAMETERS, (count, x, out, activation))
#undef PARAMETERS

// `kept` is what was activated; for a clamp, its value will do.
template <typename T>
__device__ void activate_backward(index_t count, const T* grad, const T* kept, T* out, int activation) {
    for (index_t i = first_index(); i < count; i += stride())
        narrow(activation_gradient(activation, widen(grad[i]), widen(kept[i])), out + i);
}
#define PARAMETERS(T) (index_t count, const T* grad, const T* kept, T* out, int activation)
TYPED(activate_backward, PARAMETERS, (count, grad, kept, out, activation))
#undef PARAMETERS

// `out` may be one of the operands.
template <typename T>
__device__ void add(index_t count, const T* left, const T* right, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) narrow(widen(left[i]) + widen(right[i]), out + i);
}
#define PARAMETERS(T) (index_t count, const T* left, const T* right, T* out)
TYPED(add, PARAMETERS, (count, left, right, out))
#undef PARAMETERS

// out = activation(out + bias of the column + residual): the end of a folded convolution or a linear layer. Bias and
// residual may be missing.
template <typename T>
__device__ void finish(index_t count, int columns, T* out, const float* bias, const T* residual, int activation) {
    for (index_t i = first_index(); i < count; i += stride()) {
        float y = widen(out[i]);
        if (bias) y += bias[remainder(i, columns)];
        if (residual) y += widen(residual[i]);
        narrow(activated(activation, y), out + i);
    }
}
#define PARAMETERS(T) (index_t count, int columns, T* out, const float* bias, const T* residual, int activation)
TYPED(finish, PARAMETERS, (count, columns, out, bias, residual, activation))
#undef PARAMETERS

// out = scalar · x, the scalar lying on the device.
template <typename T>
__device__ void scale(index_t count, const T* x, const float* scalar, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) narrow(widen(x[i]) * *scalar, out + i);
}
#define PARAMETERS(T) (index_t count, const T* x, const float* scalar, T* out)
TYPED(scale, PARAMETERS, (count, x, scalar, out))
#undef PARAMETERS

extern "C" __global__ void to_bf16(index_t count, const float* x, bf16* out) {
    for (index_t i = first_index(); i < count; i += stride()) narrow(x[i], out + i);
}

extern "C" __global__ void from_bf16(index_t count, const bf16* x, float* out) {
    for (index_t i = first_index(); i < count; i += stride()) out[i] = widen(x[i]);
}

extern "C" __global__ void to_f16(index_t count, const float* x, f16* out) {
    for (index_t i = first_index(); i < count; i += stride()) narrow(x[i], out + i);
}

extern "C" __global__ void from_f16(index_t count, const f16* x, float* out) {
    for (index_t i = first_index(); i < count; i += stride()) out[i] = widen(x[i]);
}

// Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011), as crate::random has it.
__device__ __forceinline__ unsigned int philox(const unsigned int* stream, unsigned int draw) {
    unsigned int counter[4] = {draw / 4, stream[2], stream[3], stream[4]};
    unsigned int key[2] = {stream[0], stream[1]};
    for (int round = 0; round < 10; round++) {
        unsigned long long first = 0xD2511F53ull * counter[0], second = 0xCD9E8D57ull * counter[2];
        counter[0] = (unsigned int)(second >> 32) ^ counter[1] ^ key[0];
        counter[1] = (unsigned int)second;
        counter[2] = (unsigned int)(first >> 32) ^ counter[3] ^ key[1];
        counter[3] = (unsigned int)first;
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return counter[draw % 4];
}

// What is kept is told by the row's stream (key, rest of the counter, draws made so far), forward and backward alike.
template <typename T>
__device__ void dropout(
    index_t count, int columns, const T* x, const unsigned int* streams, double p, float scale, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int column;
        const unsigned int* stream = streams + divide(i, columns, &column) * 6;
        unsigned int drawn = philox(stream, stream[5] + (unsigned int)column);
        float uniform = (float)(drawn >> 8) * (1.0f / 16777216.0f);
        narrow((double)uniform >= p ? widen(x[i]) * scale : 0.0f, out + i);
    }
}
#define PARAMETERS(T) (index_t count, int columns, const T* x, const unsigned int* streams, double p, float scale, T* out)
TYPED(dropout, PARAMETERS, (count, columns, x, streams, p, scale, out))
#undef PARAMETERS

// x [N, pixels, C] times a scale [N, C].
template <typename T>
__device__ void scale_channels(index_t count, int pixels, int channels, const T* x, const T* scale, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel, pixel;
        index_t image = divide(divide(i, channels, &channel), pixels, &pixel);
        narrow(widen(x[i]) * widen(scale[image * channels + channel]), out + i);
    }
}
#define PARAMETERS(T) (index_t count, int pixels, int channels, const T* x, const T* scale, T* out)
TYPED(scale_channels, PARAMETERS, (count, pixels, channels, x, scale, out))
#undef PARAMETERS

// x [rows, width] times a factor for each row.
template <typename T>
__device__ void scale_rows(index_t count, index_t width, const T* x, const float* factors, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) narrow(widen(x[i]) * factors[i / width], out + i);
}
#define PARAMETERS(T) (index_t count, index_t width, const T* x, const float* factors, T* out)
TYPED(scale_rows, PARAMETERS, (count, width, x, factors, out))
#undef PARAMETERS
