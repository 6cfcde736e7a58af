// One optimizer step on the numbers of one parameter, in the order of operations of train/optimizer, to its bits; and what
// becomes of gradients before it.
#pragma once
#include "common.cuh"

// Without momentum `velocity` is missing.
extern "C" __global__ void sgd(
    index_t count, const float* value, const float* gradient, float* velocity, float momentum, float weight_decay,
    float lr, int nesterov, float* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        float step = gradient[i] + value[i] * weight_decay;
        if (velocity) {
            float moved = velocity[i] * momentum + step;
            velocity[i] = moved;
            step = nesterov ? step + momentum * moved : moved;
        }
        out[i] = value[i] - lr * step;
    }
}

struct AdamW {
    float shrink, mean_step, square_decay, square_step, size, root_correction, eps;
};

extern "C" __global__ void adamw(
    index_t count, const float* value, const float* gradient, float* mean, float* square, AdamW factors, float* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        float g = gradient[i];
        float average = mean[i] + factors.mean_step * (g - mean[i]);
        float energy = square[i] * factors.square_decay + factors.square_step * g * g;
        mean[i] = average;
        square[i] = energy;
        float denominator = sqrtf(energy) / factors.root_correction + factors.eps;
        out[i] = value[i] * factors.shrink - factors.size * average / denominator;
    }
}

// Of train::arithmetic.
extern "C" __global__ void blend(index_t count, const float* from, const float* to, float share, float* out) {
    for (index_t i = first_index(); i < count; i += stride()) out[i] = from[i] + share * (to[i] - from[i]);
}

extern "C" __global__ void scaled(index_t count, const float* x, float factor, float* out) {
    for (index_t i = first_index(); i < count; i += stride()) out[i] = x[i] * factor;
}

// A block sums the squares of one chunk.
extern "C" __global__ void squares(index_t count, index_t chunk, const float* x, double* sums) {
    __shared__ double values[THREADS];
    index_t begin = blockIdx.x * chunk, end = begin + chunk < count ? begin + chunk : count;
    double sum = 0.0;
    for (index_t i = begin + threadIdx.x; i < end; i += THREADS) sum += (double)x[i] * (double)x[i];
    sum = over_block<Sum>(sum, values);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// What gradients whose squares come to `sums` are multiplied by, so that their norm is `most` at most: 1, which changes no bit,
// where it is no more than that or is not finite.
extern "C" __global__ void clip_factor(index_t count, const double* sums, double most, double* norm, float* factor) {
    __shared__ double values[THREADS];
    double squares = 0.0;
    for (index_t i = threadIdx.x; i < count; i += THREADS) squares += sums[i];
    squares = over_block<Sum>(squares, values);
    if (threadIdx.x != 0) return;
    double length = sqrt(squares), scale = most / (length + 1e-6);
    *norm = length;
    *factor = scale < 1.0 && length < INFINITY ? (float)scale : 1.0f;
}
