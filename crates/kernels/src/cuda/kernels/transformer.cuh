// Layer normalisation, layer scale, tokens and attention. Weights and their gradients are floats whatever activations are.
#pragma once
#include "common.cuh"

// A block for each row of x [rows, channels]; moments [rows, 2] are the mean and one over the deviation.
template <typename T>
__device__ void layer_norm(
    int channels, const T* x, const float* weight, const float* bias, double eps, T* out, float* moments) {
    __shared__ double values[THREADS];
    index_t begin = (index_t)blockIdx.x * channels;
    x += begin, out += begin;
    // Counted from a number of the row, so that the variance loses nothing to the mean's size.
    double shift = widen(x[0]), first = 0.0, second = 0.0;
    for (int k = threadIdx.x; k < channels; k += THREADS) {
        double number = (double)widen(x[k]) - shift;
        first += number;
        second += number * number;
    }
    first = over_block<Sum>(first, values) / channels;
    second = over_block<Sum>(second, values) / channels;
    double variance = second - first * first;
    float mean = (float)(shift + first), scale = (float)(1.0 / sqrt((variance < 0.0 ? 0.0 : variance) + eps));
    if (threadIdx.x == 0) moments[2 * blockIdx.x] = mean, moments[2 * blockIdx.x + 1] = scale;
    for (int k = threadIdx.x; k < channels; k += THREADS)
        narrow(fmaf((widen(x[k]) - mean) * scale, weight[k], bias[k]), out + k);
}
#define PARAMETERS(T) \
    (int channels, const T* x, const float* weight, const float* bias, double eps, T* out, float* moments)
TYPED(layer_norm, PARAMETERS, (channels, x, weight, bias, eps, out, moments))
#undef PARAMETERS

// The gradient of x: scale · (g − mean(g) − x̂ · mean(g · x̂)) for g = grad · weight and the normalised row x̂.
template <typename T>
__device__ void layer_norm_input(
    int channels, const T* grad, const T* x, const float* weight, const float* moments, T* out) {
    __shared__ double values[THREADS];
    index_t begin = (index_t)blockIdx.x * channels;
    grad += begin, x += begin, out += begin;
    float mean = moments[2 * blockIdx.x], scale = moments[2 * blockIdx.x + 1];
    double plain = 0.0, along = 0.0;
    for (int k = threadIdx.x; k < channels; k += THREADS) {
        double g = (double)widen(grad[k]) * (double)weight[k];
        plain += g;
        along += g * (double)((widen(x[k]) - mean) * scale);
    }
    plain = over_block<Sum>(plain, values) / channels;
    along = over_block<Sum>(along, values) / channels;
    for (int k = threadIdx.x; k < channels; k += THREADS) {
        double g = (double)widen(grad[k]) * (double)weight[k], normalised = (widen(x[k]) - mean) * scale;
        narrow((float)((double)scale * (g - plain - normalised * along)), out + k);
    }
}
#define PARAMETERS(T) \
    (int channels, const T* grad, const T* x, const float* weight, const float* moments, T* out)
TYPED(layer_norm_input, PARAMETERS, (channels, grad, x, weight, moments, out))
#undef PARAMETERS

// Σ grad · x over the rows of a chunk, x normalised where there are moments: partial sums [chunks, columns].
template <typename T>
__device__ void column_products(
    index_t rows, int columns, index_t chunk, const T* grad, const T* x, const float* moments, double* partial) {
    __shared__ double sums[LANES][COLUMNS];
    int column = blockIdx.x * COLUMNS + threadIdx.x;
    double sum = 0.0;
    if (column < columns) {
        index_t end = min(rows, (blockIdx.y + 1) * chunk);
        for (index_t row = blockIdx.y * chunk + threadIdx.y; row < end; row += LANES) {
            index_t i = row * columns + column;
            float number = widen(x[i]);
            if (moments) number = (number - moments[2 * row]) * moments[2 * row + 1];
            sum += (double)widen(grad[i]) * (double)number;
        }
    }
    sum = over_lanes(sum, sums);
    if (threadIdx.y == 0 && column < columns) partial[(index_t)blockIdx.y * columns + column] = sum;
}
#define PARAMETERS(T)                                                                                          \
    (index_t rows, int columns, index_t chunk, const T* grad, const T* x, const float* moments, double* partial)
TYPED(column_products, PARAMETERS, (rows, columns, chunk, grad, x, moments, partial))
#undef PARAMETERS

// residual + gain · x; the residual may be missing.
template <typename T>
__device__ void layer_scale(index_t count, int channels, const T* x, const float* gain, const T* residual, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        float y = widen(x[i]) * gain[remainder(i, channels)];
        narrow(residual ? widen(residual[i]) + y : y, out + i);
    }
}
#define PARAMETERS(T) (index_t count, int channels, const T* x, const float* gain, const T* residual, T* out)
TYPED(layer_scale, PARAMETERS, (count, channels, x, gain, residual, out))
#undef PARAMETERS

// The class token and then the patches [images, size − channels] of each image, plus positions [size].
template <typename T>
__device__ void tokens(
    index_t count, int size, int channels, const T* patches, const float* class_token, const float* positions,
    T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int place;
        index_t image = divide(i, size, &place);
        float token = place < channels ? class_token[place] : widen(patches[image * (size - channels) + place - channels]);
        narrow(token + positions[place], out + i);
    }
}
#define PARAMETERS(T)                                                                                            \
    (index_t count, int size, int channels, const T* patches, const float* class_token, const float* positions, \
     T* out)
TYPED(tokens, PARAMETERS, (count, size, channels, patches, class_token, positions, out))
#undef PARAMETERS

// Of each row of x [rows, outer] the `inner` numbers from `offset` on.
template <typename T>
__device__ void take(index_t count, int inner, int outer, int offset, const T* x, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int place;
        index_t row = divide(i, inner, &place);
        out[i] = x[row * outer + offset + place];
    }
}
#define PARAMETERS(T) (index_t count, int inner, int outer, int offset, const T* x, T* out)
TYPED(take, PARAMETERS, (count, inner, outer, offset, x, out))
#undef PARAMETERS

// The way back: they stand where they were, among zeros.
template <typename T>
__device__ void put(index_t count, int inner, int outer, int offset, const T* x, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int place;
        index_t row = divide(i, outer, &place);
        place -= offset;
        narrow(0 <= place && place < inner ? widen(x[row * inner + place]) : 0.0f, out + i);
    }
}
#define PARAMETERS(T) (index_t count, int inner, int outer, int offset, const T* x, T* out)
TYPED(put, PARAMETERS, (count, inner, outer, offset, x, out))
#undef PARAMETERS

// The rows of x [rows, inner] from `offset` on in rows of `outer` numbers, whose others stay as they are.
template <typename T>
__device__ void insert(index_t count, int inner, int outer, int offset, const T* x, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int place;
        index_t row = divide(i, inner, &place);
        out[row * outer + offset + place] = x[i];
    }
}
#define PARAMETERS(T) (index_t count, int inner, int outer, int offset, const T* x, T* out)
TYPED(insert, PARAMETERS, (count, inner, outer, offset, x, out))
#undef PARAMETERS

// x [images, tokens, parts, heads, width] as [parts, images, heads, tokens, width].
struct Heads {
    int tokens, parts, heads, width;
    index_t images;
};

// The place in x of number i of the other.
__device__ __forceinline__ index_t place_in_x(index_t i, Heads of) {
    int k, token, head;
    index_t rest = divide(divide(divide(i, of.width, &k), of.tokens, &token), of.heads, &head);
    index_t part = rest / of.images, image = rest % of.images;
    return (((image * of.tokens + token) * of.parts + part) * of.heads + head) * of.width + k;
}

template <typename T>
__device__ void split_heads(index_t count, Heads of, const T* x, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) out[i] = x[place_in_x(i, of)];
}
#define PARAMETERS(T) (index_t count, Heads of, const T* x, T* out)
TYPED(split_heads, PARAMETERS, (count, of, x, out))
#undef PARAMETERS

template <typename T>
__device__ void join_heads(index_t count, Heads of, const T* x, T* out) {
    for (index_t i = first_index(); i < count; i += stride()) out[place_in_x(i, of)] = x[i];
}
#define PARAMETERS(T) (index_t count, Heads of, const T* x, T* out)
TYPED(join_heads, PARAMETERS, (count, of, x, out))
#undef PARAMETERS

// The probabilities of rows of scores, a block for each: softmax(scale · s).
template <typename T>
__device__ void probabilities(int tokens, const float* scores, float scale, T* out) {
    __shared__ double values[THREADS];
    scores += (index_t)blockIdx.x * tokens;
    out += (index_t)blockIdx.x * tokens;
    double largest = -INFINITY, sum = 0.0;
    for (int k = threadIdx.x; k < tokens; k += THREADS) largest = Maximum::join(scores[k], largest);
    largest = over_block<Maximum>(largest, values);
    for (int k = threadIdx.x; k < tokens; k += THREADS) sum += expf((scores[k] - (float)largest) * scale);
    float share = (float)(1.0 / over_block<Sum>(sum, values));
    for (int k = threadIdx.x; k < tokens; k += THREADS)
        narrow(expf((scores[k] - (float)largest) * scale) * share, out + k);
}
#define PARAMETERS(T) (int tokens, const float* scores, float scale, T* out)
TYPED(probabilities, PARAMETERS, (tokens, scores, scale, out))
#undef PARAMETERS

// From the gradients g of probabilities p to those of the scores under them: scale · p · (g − Σ p · g).
template <typename T>
__device__ void score_gradient(int tokens, const T* probabilities, const float* gradients, float scale, T* out) {
    __shared__ double values[THREADS];
    index_t begin = (index_t)blockIdx.x * tokens;
    probabilities += begin, gradients += begin, out += begin;
    double sum = 0.0;
    for (int k = threadIdx.x; k < tokens; k += THREADS) sum += (double)widen(probabilities[k]) * (double)gradients[k];
    float mean = (float)over_block<Sum>(sum, values);
    for (int k = threadIdx.x; k < tokens; k += THREADS)
        narrow(scale * widen(probabilities[k]) * (gradients[k] - mean), out + k);
}
#define PARAMETERS(T) (int tokens, const T* probabilities, const float* gradients, float scale, T* out)
TYPED(score_gradient, PARAMETERS, (tokens, probabilities, gradients, scale, out))
#undef PARAMETERS
