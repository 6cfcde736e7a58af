// All kernels, as one module.
#include "batch_norm.cuh"
#include "classes.cuh"
#include "convolution.cuh"
#include "elementwise.cuh"
#include "optimizer.cuh"
#include "pooling.cuh"
#include "rows.cuh"
#include "transformer.cuh"
