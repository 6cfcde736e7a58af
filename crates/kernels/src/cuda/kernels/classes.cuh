// Softmax and cross-entropy over logits [rows, classes]: a block for each row, in doubles whatever the logits are.
#pragma once
#include "common.cuh"

// Starts from minus infinity, which a NaN never exceeds: it shows in the sum.
template <typename T>
__device__ __forceinline__ double largest(int classes, const T* logits, double* values) {
    double maximum = -INFINITY;
    for (int k = threadIdx.x; k < classes; k += THREADS) maximum = Maximum::join(widen(logits[k]), maximum);
    return over_block<Maximum>(maximum, values);
}

template <typename T>
__device__ __forceinline__ double sum_of_exponentials(int classes, const T* logits, double maximum, double* values) {
    double sum = 0.0;
    for (int k = threadIdx.x; k < classes; k += THREADS) sum += exp((double)widen(logits[k]) - maximum);
    return over_block<Sum>(sum, values);
}

template <typename T>
__device__ void softmax(int classes, const T* logits, float* out) {
    __shared__ double values[THREADS];
    logits += (index_t)blockIdx.x * classes;
    out += (index_t)blockIdx.x * classes;
    double maximum = largest(classes, logits, values);
    double sum = sum_of_exponentials(classes, logits, maximum, values);
    for (int k = threadIdx.x; k < classes; k += THREADS)
        out[k] = (float)(exp((double)widen(logits[k]) - maximum) / sum);
}
#define PARAMETERS(T) (int classes, const T* logits, float* out)
TYPED(softmax, PARAMETERS, (classes, logits, out))
#undef PARAMETERS

// Each row's loss, and the gradient of their mean where it is wanted; see ops::cross_entropy.
template <typename T>
__device__ void cross_entropy(
    int classes, const T* logits, const unsigned int* labels, double smoothing, double share, double* losses,
    T* gradient) {
    __shared__ double values[THREADS];
    int row = blockIdx.x, label = (int)labels[row];
    logits += (index_t)row * classes;
    double maximum = largest(classes, logits, values);
    double sum = sum_of_exponentials(classes, logits, maximum, values);
    double log_sum = log(sum), surprises = 0.0;
    if (smoothing > 0.0) {
        for (int k = threadIdx.x; k < classes; k += THREADS)
            surprises += log_sum - ((double)widen(logits[k]) - maximum);
        surprises = over_block<Sum>(surprises, values);
    }
    if (threadIdx.x == 0) {
        double loss = (1.0 - smoothing) * (log_sum - ((double)widen(logits[label]) - maximum));
        if (smoothing > 0.0) loss += smoothing * (surprises / (double)classes);
        losses[row] = loss;
    }
    if (!gradient) return;
    gradient += (index_t)row * classes;
    for (int k = threadIdx.x; k < classes; k += THREADS) {
        double target = (k == label ? 1.0 - smoothing : 0.0) + smoothing / (double)classes;
        double probability = exp((double)widen(logits[k]) - maximum) / sum;
        narrow((float)((probability - target) * share), gradient + k);
    }
}
#define PARAMETERS(T)                                                                                             \
    (int classes, const T* logits, const unsigned int* labels, double smoothing, double share, double* losses, \
     T* gradient)
TYPED(cross_entropy, PARAMETERS, (classes, logits, labels, smoothing, share, losses, gradient))
#undef PARAMETERS

// share · Σ losses, by one block.
extern "C" __global__ void mean_loss(int rows, const double* losses, double share, float* out) {
    __shared__ double values[THREADS];
    double sum = 0.0;
    for (int row = threadIdx.x; row < rows; row += THREADS) sum += losses[row];
    sum = over_block<Sum>(sum, values);
    if (threadIdx.x == 0) *out = (float)(sum * share);
}
