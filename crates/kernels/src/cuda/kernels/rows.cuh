// Rows by themselves: a block for each row, sums in doubles.
#pragma once
#include "common.cuh"

// As ops::normalize_rows has it: no row is divided by less.
#define LEAST 1e-12

template <typename T>
__device__ __forceinline__ double dot(int columns, const T* a, const T* b, double* values) {
    double sum = 0.0;
    for (int k = threadIdx.x; k < columns; k += THREADS) sum += (double)widen(a[k]) * (double)widen(b[k]);
    return over_block<Sum>(sum, values);
}

template <typename T>
__device__ void normalize_rows(int columns, const T* x, double length, T* out) {
    __shared__ double values[THREADS];
    x += (index_t)blockIdx.x * columns;
    out += (index_t)blockIdx.x * columns;
    double norm = sqrt(dot(columns, x, x, values));
    double factor = length / (norm > LEAST ? norm : LEAST);
    for (int k = threadIdx.x; k < columns; k += THREADS) narrow((float)((double)widen(x[k]) * factor), out + k);
}
#define PARAMETERS(T) (int columns, const T* x, double length, T* out)
TYPED(normalize_rows, PARAMETERS, (columns, x, length, out))
#undef PARAMETERS

template <typename T>
__device__ void normalize_rows_gradient(int columns, const T* x, const T* grad, double length, T* out) {
    __shared__ double values[THREADS];
    index_t begin = (index_t)blockIdx.x * columns;
    x += begin, grad += begin, out += begin;
    double norm = sqrt(dot(columns, x, x, values));
    double product = dot(columns, x, grad, values);
    double along = norm > LEAST ? product / (norm * norm) : 0.0;
    double factor = length / (norm > LEAST ? norm : LEAST);
    for (int k = threadIdx.x; k < columns; k += THREADS)
        narrow((float)(factor * ((double)widen(grad[k]) - (double)widen(x[k]) * along)), out + k);
}
#define PARAMETERS(T) (int columns, const T* x, const T* grad, double length, T* out)
TYPED(normalize_rows_gradient, PARAMETERS, (columns, x, grad, length, out))
#undef PARAMETERS
