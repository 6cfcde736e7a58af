// What crates/kernels/src/cuda asks of cuBLAS, cuDNN and cuRAND, computed on the processor, plainly.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "half.h"

namespace {

enum Numbers { F32, BF16, F16 };

float load(const void* memory, size_t i, Numbers numbers) {
    if (numbers == F32) return ((const float*)memory)[i];
    uint16_t half = ((const uint16_t*)memory)[i];
    if (numbers == F16) return f16_to_float(half);
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

void store(void* memory, size_t i, Numbers numbers, float x) {
    if (numbers == F32) {
        ((float*)memory)[i] = x;
        return;
    }
    if (numbers == F16) {
        ((uint16_t*)memory)[i] = float_to_f16(x);
        return;
    }
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits += 0x7fff + ((bits >> 16) & 1);
    ((uint16_t*)memory)[i] = (uint16_t)(bits >> 16);
}

int handle;

struct Tensor {
    int layout, type, n, c, h, w;
};

struct Convolution {
    int pad[2], stride[2], groups = 1, math = -1;
};

// The sizes must fit together, as the library demands.
bool fits(const Tensor& x, const Tensor& w, const Tensor& y, const Convolution& v) {
    auto out = [&](int size, int kernel, int axis) { return (size + 2 * v.pad[axis] - kernel) / v.stride[axis] + 1; };
    return x.layout == 1 && w.layout == 1 && y.layout == 1 && x.type == w.type && x.type == y.type && x.n == y.n &&
           x.c == w.c * v.groups && y.c == w.n && y.c % v.groups == 0 && y.h == out(x.h, w.h, 0) &&
           y.w == out(x.w, w.w, 1) && v.math >= 0;
}

// Calls f(place in x, place in w, place in y) for each product of the convolution.
template <typename F>
void each(const Tensor& x, const Tensor& w, const Tensor& y, const Convolution& v, F f) {
    int outputs = y.c / v.groups;
    for (int n = 0; n < y.n; n++)
        for (int row = 0; row < y.h; row++)
            for (int column = 0; column < y.w; column++)
                for (int a = 0; a < w.h; a++)
                    for (int b = 0; b < w.w; b++) {
                        int i = row * v.stride[0] - v.pad[0] + a, j = column * v.stride[1] - v.pad[1] + b;
                        if (i < 0 || i >= x.h || j < 0 || j >= x.w) continue;
                        size_t from = (((size_t)n * x.h + i) * x.w + j) * x.c;
                        size_t to = (((size_t)n * y.h + row) * y.w + column) * y.c;
                        for (int o = 0; o < y.c; o++)
                            for (int c = 0; c < w.c; c++)
                                f(from + o / outputs * w.c + c, (((size_t)o * w.h + a) * w.w + b) * w.c + c, to + o);
                    }
}

}  // namespace

extern "C" {

int cublasCreate_v2(void** out) { return *out = &handle, 0; }
int cublasDestroy_v2(void*) { return 0; }
int cublasSetStream_v2(void*, void*) { return 0; }
int cublasSetMathMode(void*, int) { return 0; }
int cublasGetProperty(int part, int* value) { return *value = part == 0 ? 13 : 0, 0; }

static int product(
    bool transpose_a, bool transpose_b, int m, int n, int k, const void* a, int lda, const void* b, int ldb,
    Numbers numbers, float beta, void* c, int ldc, Numbers sum_numbers) {
    if (lda < (transpose_a ? k : m) || ldb < (transpose_b ? n : k) || ldc < m) return 7;
    std::vector<float> left((size_t)m * k), right((size_t)k * n);
    for (int i = 0; i < m; i++)
        for (int l = 0; l < k; l++)
            left[(size_t)i * k + l] = load(a, transpose_a ? (size_t)i * lda + l : (size_t)l * lda + i, numbers);
    for (int j = 0; j < n; j++)
        for (int l = 0; l < k; l++)
            right[(size_t)j * k + l] = load(b, transpose_b ? (size_t)l * ldb + j : (size_t)j * ldb + l, numbers);
    for (int j = 0; j < n; j++)
        for (int i = 0; i < m; i++) {
            float sums[8] = {};
            const float *x = &left[(size_t)i * k], *y = &right[(size_t)j * k];
            int l = 0;
            for (; l + 8 <= k; l += 8)
                for (int lane = 0; lane < 8; lane++) sums[lane] += x[l + lane] * y[l + lane];
            for (; l < k; l++) sums[0] += x[l] * y[l];
            float sum = 0;
            for (float part : sums) sum += part;
            size_t at = (size_t)j * ldc + i;
            store(c, at, sum_numbers, beta == 0.0f ? sum : sum + load(c, at, sum_numbers));
        }
    return 0;
}

int cublasGemmStridedBatchedEx(
    void*, int transpose_a, int transpose_b, int m, int n, int k, const void* alpha, const void* a, int a_type, int lda,
    long long step_a, const void* b, int b_type, int ldb, long long step_b, const void* beta, void* c, int c_type, int ldc,
    long long step_c, int count, int, int) {
    // CUDA_R_32F, CUDA_R_16BF and CUDA_R_16F
    auto numbers = [](int type) { return type == 14 ? BF16 : type == 2 ? F16 : F32; };
    bool known = (a_type == 0 && c_type == 0) || ((a_type == 14 || a_type == 2) && (c_type == a_type || c_type == 0));
    if (a_type != b_type || !known || *(const float*)alpha != 1.0f) return 7;
    int size = a_type ? 2 : 4, sum_size = c_type ? 2 : 4, status = 0;
    for (int i = 0; i < count && !status; i++)
        status = product(
            transpose_a, transpose_b, m, n, k, (const char*)a + i * step_a * size, lda, (const char*)b + i * step_b * size,
            ldb, numbers(a_type), *(const float*)beta, (char*)c + i * step_c * sum_size, ldc, numbers(c_type));
    return status;
}

int curandCreateGenerator(void** out, int) { return *out = &handle, 0; }
int curandDestroyGenerator(void*) { return 0; }
int curandSetStream(void*, void*) { return 0; }
int curandSetPseudoRandomGeneratorSeed(void*, unsigned long long) { return 0; }

size_t cudnnGetVersion() { return 91000; }
int cudnnCreate(void** out) { return *out = &handle, 0; }
int cudnnDestroy(void*) { return 0; }
int cudnnSetStream(void*, void*) { return 0; }
int cudnnCreateTensorDescriptor(Tensor** out) { return *out = new Tensor, 0; }
int cudnnCreateFilterDescriptor(Tensor** out) { return *out = new Tensor, 0; }
int cudnnCreateConvolutionDescriptor(Convolution** out) { return *out = new Convolution, 0; }
int cudnnDestroyTensorDescriptor(Tensor* t) { return delete t, 0; }
int cudnnDestroyFilterDescriptor(Tensor* t) { return delete t, 0; }
int cudnnDestroyConvolutionDescriptor(Convolution* v) { return delete v, 0; }
int cudnnSetTensor4dDescriptor(Tensor* t, int layout, int type, int n, int c, int h, int w) {
    return *t = {layout, type, n, c, h, w}, 0;
}
int cudnnSetFilter4dDescriptor(Tensor* t, int type, int layout, int n, int c, int h, int w) {
    return *t = {layout, type, n, c, h, w}, 0;
}
int cudnnSetConvolution2dDescriptor(Convolution* v, int pad_h, int pad_w, int u, int s, int, int, int mode, int) {
    if (mode != 1) return 2000;
    v->pad[0] = pad_h, v->pad[1] = pad_w, v->stride[0] = u, v->stride[1] = s;
    return 0;
}
int cudnnSetConvolutionGroupCount(Convolution* v, int groups) { return v->groups = groups, 0; }
int cudnnSetConvolutionMathType(Convolution* v, int math) { return v->math = math, 0; }

// EMULATED_DNN=none has nothing supported, to see what comes in its place.
static int workspace(bool fits, size_t* bytes) {
    const char* wish = getenv("EMULATED_DNN");
    *bytes = 256;
    return !fits ? 2000 : wish && !strcmp(wish, "none") ? 3000 : 0;
}

int cudnnGetConvolutionForwardWorkspaceSize(
    void*, Tensor* x, Tensor* w, Convolution* v, Tensor* y, int algorithm, size_t* bytes) {
    return workspace(fits(*x, *w, *y, *v) && algorithm == 1, bytes);
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(
    void*, Tensor* w, Tensor* y, Convolution* v, Tensor* x, int algorithm, size_t* bytes) {
    return workspace(fits(*x, *w, *y, *v) && algorithm == 1, bytes);
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(
    void*, Tensor* x, Tensor* y, Convolution* v, Tensor* w, int algorithm, size_t* bytes) {
    return workspace(fits(*x, *w, *y, *v) && algorithm == 1, bytes);
}

// CUDNN_DATA_FLOAT, CUDNN_DATA_BFLOAT16 and CUDNN_DATA_HALF
static Numbers numbers_of(const Tensor* x) { return x->type == 9 ? BF16 : x->type == 2 ? F16 : F32; }

static int write(std::vector<float>& sums, void* out, Numbers numbers) {
    for (size_t i = 0; i < sums.size(); i++) store(out, i, numbers, sums[i]);
    return 0;
}

int cudnnConvolutionForward(
    void*, const float*, Tensor* x, const void* xs, Tensor* w, const void* ws, Convolution* v, int, void* memory,
    size_t bytes, const float*, Tensor* y, void* ys) {
    if (!memory || bytes != 256) return 2000;
    Numbers numbers = numbers_of(x);
    std::vector<float> sums((size_t)y->n * y->h * y->w * y->c);
    each(*x, *w, *y, *v, [&](size_t i, size_t j, size_t k) { sums[k] += load(xs, i, numbers) * load(ws, j, numbers); });
    return write(sums, ys, numbers);
}
int cudnnConvolutionBackwardData(
    void*, const float*, Tensor* w, const void* ws, Tensor* y, const void* ys, Convolution* v, int, void* memory,
    size_t bytes, const float*, Tensor* x, void* xs) {
    if (!memory || bytes != 256) return 2000;
    Numbers numbers = numbers_of(x);
    std::vector<float> sums((size_t)x->n * x->h * x->w * x->c);
    each(*x, *w, *y, *v, [&](size_t i, size_t j, size_t k) { sums[i] += load(ys, k, numbers) * load(ws, j, numbers); });
    return write(sums, xs, numbers);
}
int cudnnConvolutionBackwardFilter(
    void*, const float*, Tensor* x, const void* xs, Tensor* y, const void* ys, Convolution* v, int, void* memory,
    size_t bytes, const float*, Tensor* w, void* out) {
    if (!memory || bytes != 256) return 2000;
    Numbers numbers = numbers_of(x);
    std::vector<float> sums((size_t)w->n * w->h * w->w * w->c);
    each(*x, *w, *y, *v, [&](size_t i, size_t j, size_t k) { sums[j] += load(xs, i, numbers) * load(ys, k, numbers); });
    return write(sums, out, numbers);
}

}
