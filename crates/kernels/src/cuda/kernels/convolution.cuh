// What convolution needs beside cuDNN and cuBLAS: weights in another order, padding that differs from side to side, the
// depthwise kernels, and patches for a product where cuDNN has no algorithm.
#pragma once
#include "common.cuh"
#include "pooling.cuh"

// Between [outer, a, b] and [outer, b, a]: weights [O, I, taps] to [O, taps, I] and back; the channels of depthwise ones.
template <typename From, typename To>
__device__ void swap_axes(index_t count, int a, int b, const From* x, To* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int first, second;
        index_t outer = divide(divide(i, a, &first), b, &second);
        narrow(widen(x[(outer * a + first) * b + second]), out + i);
    }
}
extern "C" __global__ void swap_axes_to_f32(index_t count, int a, int b, const float* x, float* out) {
    swap_axes(count, a, b, x, out);
}
extern "C" __global__ void swap_axes_to_bf16(index_t count, int a, int b, const float* x, bf16* out) {
    swap_axes(count, a, b, x, out);
}
extern "C" __global__ void swap_axes_from_bf16(index_t count, int a, int b, const bf16* x, float* out) {
    swap_axes(count, a, b, x, out);
}
extern "C" __global__ void swap_axes_to_f16(index_t count, int a, int b, const float* x, f16* out) {
    swap_axes(count, a, b, x, out);
}
extern "C" __global__ void swap_axes_from_f16(index_t count, int a, int b, const f16* x, float* out) {
    swap_axes(count, a, b, x, out);
}

// A window of images [N, from, C] as images [N, to, C] that begin `offset` further up and left, zeros beyond: padding, and
// with a negative offset the way back.
struct Frame {
    int channels, from[2], to[2], offset[2];
};

template <typename T>
__device__ void reframe(index_t count, Frame frame, const T* x, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel, row, column;
        index_t image = place_of(i, frame.channels, frame.to, &row, &column, &channel);
        row -= frame.offset[0];
        column -= frame.offset[1];
        bool inside = 0 <= row && row < frame.from[0] && 0 <= column && column < frame.from[1];
        index_t from = ((image * frame.from[0] + row) * frame.from[1] + column) * frame.channels + channel;
        narrow(inside ? widen(x[from]) : 0.0f, out + i);
    }
}
#define PARAMETERS(T) (index_t count, Frame frame, const T* x, T* out)
TYPED(reframe, PARAMETERS, (count, frame, x, out))
#undef PARAMETERS

// A batch normalisation folded into a convolution, computed in doubles and rounded once: the weights of each output ...
extern "C" __global__ void fold_weights(
    index_t count, int per_output, const float* x, const float* weight, const float* variance, double eps, float* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int place;
        index_t output = divide(i, per_output, &place);
        double scale = (double)weight[output] / sqrt((double)variance[output] + eps);
        out[i] = (float)((double)x[i] * scale);
    }
}

// ... and its bias.
extern "C" __global__ void fold_bias(
    int outputs, const float* before, const float* weight, const float* bias, const float* mean, const float* variance,
    double eps, float* out) {
    int output = (int)first_index();
    if (output >= outputs) return;
    double scale = (double)weight[output] / sqrt((double)variance[output] + eps);
    double start = before ? (double)before[output] : 0.0;
    out[output] = (float)((double)bias[output] + (start - (double)mean[output]) * scale);
}

// Depthwise: a weight [taps, C] meets each channel of x [N, H, W, C] alone.
template <typename T>
__device__ void depthwise(index_t count, Grid grid, const T* x, const T* weight, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel, top, left;
        index_t image = place_of(i, grid.channels, grid.output, &top, &left, &channel);
        top = top * grid.stride[0] - grid.padding[0];
        left = left * grid.stride[1] - grid.padding[1];
        float sum = 0.0f;
        for (int a = max(0, -top); a < grid.kernel[0] && top + a < grid.input[0]; a++) {
            index_t row = (image * grid.input[0] + top + a) * grid.input[1];
            for (int b = max(0, -left); b < grid.kernel[1] && left + b < grid.input[1]; b++) {
                float number = widen(x[(row + left + b) * grid.channels + channel]);
                sum = fmaf(number, widen(weight[(a * grid.kernel[1] + b) * grid.channels + channel]), sum);
            }
        }
        narrow(sum, out + i);
    }
}
#define PARAMETERS(T) (index_t count, Grid grid, const T* x, const T* weight, T* out)
TYPED(depthwise, PARAMETERS, (count, grid, x, weight, out))
#undef PARAMETERS

// Calls `meet` with each window that holds a number of the input, and the tap that it is under there, in the order of taps.
template <typename Meet>
__device__ __forceinline__ void over_windows(const Grid& grid, index_t image, int row, int column, const Meet& meet) {
    row += grid.padding[0];
    column += grid.padding[1];
    for (int a = row % grid.stride[0]; a < grid.kernel[0] && a <= row; a += grid.stride[0]) {
        int y = (row - a) / grid.stride[0];
        if (y >= grid.output[0]) continue;
        for (int b = column % grid.stride[1]; b < grid.kernel[1] && b <= column; b += grid.stride[1]) {
            int z = (column - b) / grid.stride[1];
            if (z >= grid.output[1]) continue;
            meet((image * grid.output[0] + y) * grid.output[1] + z, a * grid.kernel[1] + b);
        }
    }
}

template <typename T>
__device__ void depthwise_input(index_t count, Grid grid, const T* grad, const T* weight, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel, row, column;
        index_t image = place_of(i, grid.channels, grid.input, &row, &column, &channel);
        float sum = 0.0f;
        over_windows(grid, image, row, column, [&](index_t window, int tap) {
            float slope = widen(grad[window * grid.channels + channel]);
            sum = fmaf(slope, widen(weight[tap * grid.channels + channel]), sum);
        });
        narrow(sum, out + i);
    }
}
#define PARAMETERS(T) (index_t count, Grid grid, const T* grad, const T* weight, T* out)
TYPED(depthwise_input, PARAMETERS, (count, grid, grad, weight, out))
#undef PARAMETERS

// The most taps in one line of a depthwise kernel.
#define TAPS 8

// The weight's gradient for one line of taps (along z) and one chunk of output pixels: partial sums [chunks, taps, C].
template <typename T>
__device__ void depthwise_weight(
    index_t pixels, Grid grid, index_t chunk, const T* x, const T* grad, double* partial) {
    __shared__ double sums[LANES][COLUMNS];
    int channel = blockIdx.x * COLUMNS + threadIdx.x, line = blockIdx.z;
    double taps[TAPS];
    for (int b = 0; b < TAPS; b++) taps[b] = 0.0;
    if (channel < grid.channels) {
        index_t end = min(pixels, (blockIdx.y + 1) * chunk);
        for (index_t place = blockIdx.y * chunk + threadIdx.y; place < end; place += LANES) {
            int row, left;
            index_t image = divide(divide(place, grid.output[1], &left), grid.output[0], &row);
            row = row * grid.stride[0] - grid.padding[0] + line;
            left = left * grid.stride[1] - grid.padding[1];
            if (row < 0 || row >= grid.input[0]) continue;
            double g = widen(grad[place * grid.channels + channel]);
            index_t start = (image * grid.input[0] + row) * grid.input[1];
            for (int b = 0; b < TAPS; b++) {
                int column = left + b;
                if (b < grid.kernel[1] && 0 <= column && column < grid.input[1])
                    taps[b] = fma(g, (double)widen(x[(start + column) * grid.channels + channel]), taps[b]);
            }
        }
    }
    for (int b = 0; b < TAPS; b++) {
        if (b >= grid.kernel[1]) break;
        double sum = over_lanes(taps[b], sums);
        index_t tap = (index_t)blockIdx.y * grid.kernel[0] * grid.kernel[1] + line * grid.kernel[1] + b;
        if (threadIdx.y == 0 && channel < grid.channels) partial[tap * grid.channels + channel] = sum;
    }
}
#define PARAMETERS(T) (index_t pixels, Grid grid, index_t chunk, const T* x, const T* grad, double* partial)
TYPED(depthwise_weight, PARAMETERS, (pixels, grid, chunk, x, grad, partial))
#undef PARAMETERS

// The patches under the windows of some images: [output pixels, taps, C], zeros beyond the image.
template <typename T>
__device__ void patches(index_t count, Grid grid, const T* x, T* out) {
    int taps = grid.kernel[0] * grid.kernel[1];
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel, tap, row, column;
        index_t place = divide(divide(i, grid.channels, &channel), taps, &tap);
        index_t image = divide(divide(place, grid.output[1], &column), grid.output[0], &row);
        row = row * grid.stride[0] - grid.padding[0] + tap / grid.kernel[1];
        column = column * grid.stride[1] - grid.padding[1] + tap % grid.kernel[1];
        bool inside = 0 <= row && row < grid.input[0] && 0 <= column && column < grid.input[1];
        index_t from = ((image * grid.input[0] + row) * grid.input[1] + column) * grid.channels + channel;
        narrow(inside ? widen(x[from]) : 0.0f, out + i);
    }
}
#define PARAMETERS(T) (index_t count, Grid grid, const T* x, T* out)
TYPED(patches, PARAMETERS, (count, grid, x, out))
#undef PARAMETERS

// The way back: each number of the images gathers from all patches that hold it, in the order of the taps.
template <typename T>
__device__ void gather_patches(index_t count, Grid grid, const T* x, T* out) {
    int taps = grid.kernel[0] * grid.kernel[1];
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel, row, column;
        index_t image = place_of(i, grid.channels, grid.input, &row, &column, &channel);
        float sum = 0.0f;
        over_windows(grid, image, row, column, [&](index_t window, int tap) {
            sum += widen(x[(window * taps + tap) * grid.channels + channel]);
        });
        narrow(sum, out + i);
    }
}
#define PARAMETERS(T) (index_t count, Grid grid, const T* x, T* out)
TYPED(gather_patches, PARAMETERS, (count, grid, x, out))
#undef PARAMETERS
