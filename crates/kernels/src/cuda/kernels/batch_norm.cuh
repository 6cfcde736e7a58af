// Batch normalisation with its activation and residual: sums over the rows, a few numbers per channel, rows again.
//
// x is [rows, channels]. Sums are of doubles, in partial sums [chunks, 2, channels] of `chunk` rows each, added in their
// order. What is settled per channel: norm = mean, 1 / deviation [2, channels] as doubles; affine = centre, scale, offset
// [3, channels] of y = (x - centre) * scale + offset; see ops/batch_norm for why it is centred so.
#pragma once
#include "common.cuh"

// Σ (x − shift) and Σ (x − shift)² of one chunk, the shift being the first row.
template <typename T>
__device__ void moments(index_t rows, int channels, index_t chunk, const T* x, double* partial) {
    __shared__ double sums[LANES][COLUMNS];
    int channel = blockIdx.x * COLUMNS + threadIdx.x;
    double sum = 0.0, square = 0.0;
    if (channel < channels) {
        double shift = widen(x[channel]);
        index_t end = min(rows, (blockIdx.y + 1) * chunk);
        for (index_t row = blockIdx.y * chunk + threadIdx.y; row < end; row += LANES) {
            double deviation = widen(x[row * channels + channel]) - shift;
            sum += deviation;
            square = fma(deviation, deviation, square);
        }
    }
    sum = over_lanes(sum, sums);
    square = over_lanes(square, sums);
    if (threadIdx.y == 0 && channel < channels) {
        partial[(index_t)blockIdx.y * 2 * channels + channel] = sum;
        partial[((index_t)blockIdx.y * 2 + 1) * channels + channel] = square;
    }
}
#define PARAMETERS(T) (index_t rows, int channels, index_t chunk, const T* x, double* partial)
TYPED(moments, PARAMETERS, (rows, channels, chunk, x, partial))
#undef PARAMETERS

__device__ __forceinline__ void settle(
    int channels, int channel, double mean, double inverse, const float* weight, const float* bias, double* norm,
    float* affine) {
    norm[channel] = mean;
    norm[channels + channel] = inverse;
    float centre = (float)mean;
    double scale = (double)weight[channel] * inverse;
    affine[channel] = centre;
    affine[channels + channel] = (float)scale;
    // What rounding took from the mean goes into the offset.
    affine[2 * channels + channel] = (float)((double)bias[channel] + scale * ((double)centre - mean));
}

// statistics = mean and unbiased variance [2, channels], for the running ones.
template <typename T>
__device__ void batch_statistics(
    index_t rows, int channels, int chunks, const T* x, const double* partial, const float* weight, const float* bias,
    double eps, double* norm, float* affine, float* statistics) {
    __shared__ double sums[LANES][COLUMNS];
    int channel = blockIdx.x * COLUMNS + threadIdx.x;
    bool there = channel < channels;
    double sum = over_chunks(2 * channels, chunks, partial, there ? channel : 2 * channels, sums);
    double square = over_chunks(2 * channels, chunks, partial, channels + channel, sums);
    if (!there || threadIdx.y > 0) return;
    double mean = (double)widen(x[channel]) + sum / (double)rows;
    square = square - sum * sum / (double)rows;
    // Rounding may leave a constant channel a hair below zero; a NaN must stay one.
    if (square < 0.0) square = 0.0;
    settle(channels, channel, mean, 1.0 / sqrt(square / (double)rows + eps), weight, bias, norm, affine);
    statistics[channel] = (float)mean;
    statistics[channels + channel] = (float)(square / (double)(rows - 1));
}
#define PARAMETERS(T)                                                                                                   \
    (index_t rows, int channels, int chunks, const T* x, const double* partial, const float* weight, const float* bias, \
     double eps, double* norm, float* affine, float* statistics)
TYPED(batch_statistics, PARAMETERS,
     (rows, channels, chunks, x, partial, weight, bias, eps, norm, affine, statistics))
#undef PARAMETERS

extern "C" __global__ void frozen_statistics(
    int channels, const float* mean, const float* variance, const float* weight, const float* bias, double eps,
    double* norm, float* affine) {
    int channel = (int)first_index();
    if (channel >= channels) return;
    double inverse = 1.0 / sqrt((double)variance[channel] + eps);
    settle(channels, channel, (double)mean[channel], inverse, weight, bias, norm, affine);
}

// PyTorch's update of a running statistic.
extern "C" __global__ void running_statistic(
    int channels, const float* running, const float* batch, float kept, float momentum, float* out) {
    int channel = (int)first_index();
    if (channel < channels) out[channel] = running[channel] * kept + batch[channel] * momentum;
}

__device__ __forceinline__ float normalized(int channels, const float* affine, int channel, float x) {
    return (x - affine[channel]) * affine[channels + channel] + affine[2 * channels + channel];
}

template <typename T>
__device__ void normalize(
    index_t count, int channels, const T* x, const T* residual, const float* affine, int activation, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        float y = normalized(channels, affine, remainder(i, channels), widen(x[i]));
        if (residual) y += widen(residual[i]);
        narrow(activated(activation, y), out + i);
    }
}
#define PARAMETERS(T) \
    (index_t count, int channels, const T* x, const T* residual, const float* affine, int activation, T* out)
TYPED(normalize, PARAMETERS, (count, channels, x, residual, affine, activation, out))
#undef PARAMETERS

// The gradient before the activation. A clamp's value tells what it cut off; otherwise the argument is computed again.
template <typename T>
__device__ __forceinline__ float before_activation(
    index_t i, int channel, int channels, const T* grad, const T* x, const T* residual, const T* output,
    const float* affine, int activation) {
    float g = widen(grad[i]);
    if (activation == NONE) return g;
    float argument;
    if (output) {
        argument = widen(output[i]);
    } else {
        argument = normalized(channels, affine, channel, widen(x[i]));
        if (residual) argument += widen(residual[i]);
    }
    return activation_gradient(activation, g, argument);
}

// Σ g and Σ g · (x − mean) of one chunk, g being the gradient before the activation; `x` may be missing where only g is
// wanted, `cut`, which g is written to, where nobody wants that.
template <typename T>
__device__ void gradient_sums(
    index_t rows, int channels, index_t chunk, const T* grad, const T* x, const T* residual, const T* output,
    const double* norm, const float* affine, int activation, double* partial, T* cut) {
    __shared__ double sums[LANES][COLUMNS];
    int channel = blockIdx.x * COLUMNS + threadIdx.x;
    double sum = 0.0, product = 0.0;
    if (channel < channels) {
        double mean = norm[channel];
        index_t end = min(rows, (blockIdx.y + 1) * chunk);
        for (index_t row = blockIdx.y * chunk + threadIdx.y; row < end; row += LANES) {
            index_t i = row * channels + channel;
            float g = before_activation(i, channel, channels, grad, x, residual, output, affine, activation);
            if (cut) {
                narrow(g, cut + i);
                g = widen(cut[i]);
            }
            sum += g;
            if (x) product = fma((double)g, (double)widen(x[i]) - mean, product);
        }
    }
    sum = over_lanes(sum, sums);
    product = over_lanes(product, sums);
    if (threadIdx.y == 0 && channel < channels) {
        partial[(index_t)blockIdx.y * 2 * channels + channel] = sum;
        partial[((index_t)blockIdx.y * 2 + 1) * channels + channel] = product;
    }
}
#define PARAMETERS(T)                                                                                             \
    (index_t rows, int channels, index_t chunk, const T* grad, const T* x, const T* residual, const T* output,    \
     const double* norm, const float* affine, int activation, double* partial, T* cut)
TYPED(gradient_sums, PARAMETERS,
     (rows, channels, chunk, grad, x, residual, output, norm, affine, activation, partial, cut))
#undef PARAMETERS

// The gradients of weight and bias, and what they take from that of x (Ioffe and Szegedy, §3): back = slope, offset
// [2, channels] of slope * (x - centre) + offset.
extern "C" __global__ void gradient_totals(
    index_t rows, int channels, int chunks, const double* partial, const double* norm, const float* affine,
    const float* weight, float* weight_gradient, float* bias_gradient, float* back) {
    __shared__ double sums[LANES][COLUMNS];
    int channel = blockIdx.x * COLUMNS + threadIdx.x;
    bool there = channel < channels;
    double sum = over_chunks(2 * channels, chunks, partial, there ? channel : 2 * channels, sums);
    double product = over_chunks(2 * channels, chunks, partial, channels + channel, sums);
    if (!there || threadIdx.y > 0) return;
    double mean = norm[channel], inverse = norm[channels + channel];
    product *= inverse;
    weight_gradient[channel] = (float)product;
    bias_gradient[channel] = (float)sum;
    double share = -((double)weight[channel] * inverse) / (double)rows;
    double slope = share * product * inverse;
    back[channel] = (float)slope;
    back[channels + channel] = (float)(share * sum + slope * ((double)affine[channel] - mean));
}

// The gradient of x. `grad` is before the activation already where `activation` is NONE; `back` is missing where the
// statistics were given.
template <typename T>
__device__ void towards_x(
    index_t count, int channels, const T* grad, const T* x, const T* residual, const T* output, const float* affine,
    const float* back, int activation, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel = remainder(i, channels);
        float g = before_activation(i, channel, channels, grad, x, residual, output, affine, activation);
        float gradient = affine[channels + channel] * g;
        if (back) gradient += back[channel] * (widen(x[i]) - affine[channel]) + back[channels + channel];
        narrow(gradient, out + i);
    }
}
#define PARAMETERS(T)                                                                                                \
    (index_t count, int channels, const T* grad, const T* x, const T* residual, const T* output, const float* affine, \
     const float* back, int activation, T* out)
TYPED(towards_x, PARAMETERS, (count, channels, grad, x, residual, output, affine, back, activation, out))
#undef PARAMETERS
