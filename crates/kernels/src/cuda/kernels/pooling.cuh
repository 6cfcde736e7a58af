// Pooling and sums over the pixels of images [N, H, W, C].
#pragma once
#include "common.cuh"

// height, width of input and output; kernel, stride, padding above and to the left.
struct Grid {
    int channels, input[2], output[2], kernel[2], stride[2], padding[2];
};

// The image that number i lies in, and where there.
__device__ __forceinline__ index_t place_of(
    index_t i, int channels, const int* size, int* row, int* column, int* channel) {
    return divide(divide(divide(i, channels, channel), size[1], column), size[0], row);
}

// The largest number of each window, the first of equals, a NaN before all; `chosen`, which may be missing, says where in
// its window it was found.
template <typename T>
__device__ void max_pool(index_t count, Grid grid, const T* x, T* out, unsigned short* chosen) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel, row, column;
        index_t image = place_of(i, grid.channels, grid.output, &row, &column, &channel);
        int top = row * grid.stride[0] - grid.padding[0], left = column * grid.stride[1] - grid.padding[1];
        bool found = false;
        float best = 0.0f;
        int where = 0;
        for (int a = 0; a < grid.kernel[0]; a++) {
            for (int b = 0; b < grid.kernel[1]; b++) {
                int y = top + a, z = left + b;
                if (y < 0 || y >= grid.input[0] || z < 0 || z >= grid.input[1]) continue;
                float value =
                    widen(x[((image * grid.input[0] + y) * grid.input[1] + z) * grid.channels + channel]);
                if (!found || value > best || value != value) {
                    best = value;
                    where = a * grid.kernel[1] + b;
                    found = true;
                }
            }
        }
        narrow(best, out + i);
        if (chosen) chosen[i] = (unsigned short)where;
    }
}
#define PARAMETERS(T) (index_t count, Grid grid, const T* x, T* out, unsigned short* chosen)
TYPED(max_pool, PARAMETERS, (count, grid, x, out, chosen))
#undef PARAMETERS

// Each number of the input gathers from the windows that hold it, in their order.
template <typename T>
__device__ void max_pool_backward(
    index_t count, Grid grid, const T* grad, const unsigned short* chosen, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel, row, column;
        index_t image = place_of(i, grid.channels, grid.input, &row, &column, &channel);
        row += grid.padding[0];
        column += grid.padding[1];
        int first_row = row < grid.kernel[0] ? 0 : (row - grid.kernel[0]) / grid.stride[0] + 1;
        int first_column = column < grid.kernel[1] ? 0 : (column - grid.kernel[1]) / grid.stride[1] + 1;
        float sum = 0.0f;
        for (int y = first_row; y <= row / grid.stride[0] && y < grid.output[0]; y++) {
            for (int z = first_column; z <= column / grid.stride[1] && z < grid.output[1]; z++) {
                int tap = (row - y * grid.stride[0]) * grid.kernel[1] + column - z * grid.stride[1];
                index_t from = ((image * grid.output[0] + y) * grid.output[1] + z) * grid.channels + channel;
                if (chosen[from] == tap) sum += widen(grad[from]);
            }
        }
        narrow(sum, out + i);
    }
}
#define PARAMETERS(T) (index_t count, Grid grid, const T* grad, const unsigned short* chosen, T* out)
TYPED(max_pool_backward, PARAMETERS, (count, grid, grad, chosen, out))
#undef PARAMETERS

// Each pixel of x as four of images [height, width] of twice its size.
template <typename T>
__device__ void upsample(index_t count, int channels, int height, int width, const T* x, T* out) {
    int size[2] = {height, width};
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel, row, column;
        index_t image = place_of(i, channels, size, &row, &column, &channel);
        out[i] = x[((image * (height / 2) + row / 2) * (width / 2) + column / 2) * channels + channel];
    }
}
#define PARAMETERS(T) (index_t count, int channels, int height, int width, const T* x, T* out)
TYPED(upsample, PARAMETERS, (count, channels, height, width, x, out))
#undef PARAMETERS

// The way back to images [height, width]: the sums of the four.
template <typename T>
__device__ void upsample_backward(index_t count, int channels, int height, int width, const T* grad, T* out) {
    int size[2] = {height, width};
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel, row, column;
        index_t image = place_of(i, channels, size, &row, &column, &channel);
        index_t line = (index_t)2 * width * channels;
        const T* upper = grad + ((image * height + row) * 2 * width + column) * 2 * channels + channel;
        const T* lower = upper + line;
        float above = widen(upper[0]) + widen(upper[channels]), below = widen(lower[0]) + widen(lower[channels]);
        narrow(above + below, out + i);
    }
}
#define PARAMETERS(T) (index_t count, int channels, int height, int width, const T* grad, T* out)
TYPED(upsample_backward, PARAMETERS, (count, channels, height, width, grad, out))
#undef PARAMETERS

// share · Σ x (· y, where there is one) over the pixels of each image: [N, pixels, C] to [N, C].
template <typename T>
__device__ void pixel_sums(int pixels, int channels, const T* x, const T* y, double share, T* out) {
    __shared__ double sums[LANES][COLUMNS];
    int channel = blockIdx.x * COLUMNS + threadIdx.x;
    double sum = 0.0;
    if (channel < channels) {
        for (int pixel = threadIdx.y; pixel < pixels; pixel += LANES) {
            index_t i = ((index_t)blockIdx.y * pixels + pixel) * channels + channel;
            double number = widen(x[i]);
            sum = y ? fma(number, (double)widen(y[i]), sum) : sum + number;
        }
    }
    sum = over_lanes(sum, sums);
    if (threadIdx.y == 0 && channel < channels)
        narrow((float)(sum * share), out + (index_t)blockIdx.y * channels + channel);
}
#define PARAMETERS(T) (int pixels, int channels, const T* x, const T* y, double share, T* out)
TYPED(pixel_sums, PARAMETERS, (pixels, channels, x, y, share, out))
#undef PARAMETERS

// The gradient of an average: its share at every pixel.
template <typename T>
__device__ void spread(index_t count, int pixels, int channels, const T* grad, float share, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int channel, pixel;
        index_t image = divide(divide(i, channels, &channel), pixels, &pixel);
        narrow(widen(grad[image * channels + channel]) * share, out + i);
    }
}
#define PARAMETERS(T) (index_t count, int pixels, int channels, const T* grad, float share, T* out)
TYPED(spread, PARAMETERS, (count, pixels, channels, grad, share, out))
#undef PARAMETERS

// Σ over the rows of a chunk of x [rows, columns]: partial sums [chunks, columns].
template <typename T>
__device__ void column_sums(index_t rows, int columns, index_t chunk, const T* x, double* partial) {
    __shared__ double sums[LANES][COLUMNS];
    int column = blockIdx.x * COLUMNS + threadIdx.x;
    double sum = 0.0;
    if (column < columns) {
        index_t end = min(rows, (blockIdx.y + 1) * chunk);
        for (index_t row = blockIdx.y * chunk + threadIdx.y; row < end; row += LANES)
            sum += widen(x[row * columns + column]);
    }
    sum = over_lanes(sum, sums);
    if (threadIdx.y == 0 && column < columns) partial[(index_t)blockIdx.y * columns + column] = sum;
}
#define PARAMETERS(T) (index_t rows, int columns, index_t chunk, const T* x, double* partial)
TYPED(column_sums, PARAMETERS, (rows, columns, chunk, x, partial))
#undef PARAMETERS

// The partial sums [chunks, count] of each number.
extern "C" __global__ void total(index_t count, int chunks, const double* partial, float* out) {
    __shared__ double sums[LANES][COLUMNS];
    index_t i = (index_t)blockIdx.x * COLUMNS + threadIdx.x;
    double sum = over_chunks(count, chunks, partial, i, sums);
    if (i < count && threadIdx.y == 0) out[i] = (float)sum;
}
