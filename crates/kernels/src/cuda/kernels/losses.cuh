// The losses beside plain cross-entropy: over classes against mixtures of two, over labels, and towards a teacher. Rows of
// scores [rows, classes], a block for each, in doubles whatever the scores are.
#pragma once
#include "classes.cuh"

__device__ __forceinline__ double weight_of(const double* weights, int k) { return weights ? weights[k] : 1.0; }

// Each of the three says the loss of a row against `label`, by the whole block, and then its slope towards any score; they
// are those of ops::cross_entropy, ops::focal and ops::margin, `settings` in their order.
struct WeightedCrossEntropy {
    double smoothing, maximum, sum, total;
    const double* weights;
    int classes, label;

    __device__ WeightedCrossEntropy(int classes, int label, const double* weights, const double* settings)
        : smoothing(settings[0]), weights(weights), classes(classes), label(label) {}

    // The share of the smoothed target that class k has, times its weight.
    __device__ double count(int k) const {
        return ((k == label ? 1.0 - smoothing : 0.0) + smoothing / (double)classes) * weight_of(weights, k);
    }

    template <typename T>
    __device__ double loss(const T* scores, double* values) {
        maximum = largest(classes, scores, values);
        sum = sum_of_exponentials(classes, scores, maximum, values);
        double log_sum = log(sum), counts = 0.0, surprises = 0.0;
        for (int k = threadIdx.x; k < classes; k += THREADS) {
            double counted = count(k);
            counts += counted;
            if (counted > 0.0) surprises += counted * (log_sum - ((double)widen(scores[k]) - maximum));
        }
        total = over_block<Sum>(counts, values);
        return over_block<Sum>(surprises, values);
    }

    __device__ double slope(int k, double score) const { return total * (exp(score - maximum) / sum) - count(k); }
};

struct Focal {
    double gamma, weight, maximum, sum, wrong, steepness;
    int classes, label;

    __device__ Focal(int classes, int label, const double* weights, const double* settings)
        : gamma(settings[0]), weight(weight_of(weights, label)), classes(classes), label(label) {}

    template <typename T>
    __device__ double loss(const T* scores, double* values) {
        maximum = largest(classes, scores, values);
        sum = sum_of_exponentials(classes, scores, maximum, values);
        double others = 0.0, own = (double)widen(scores[label]) - maximum;
        for (int k = threadIdx.x; k < classes; k += THREADS)
            if (k != label) others += exp((double)widen(scores[k]) - maximum);
        wrong = over_block<Sum>(others, values) / sum;
        double surprise = log(sum) - own, right = exp(own) / sum, focus = pow(wrong, gamma);
        steepness = gamma == 0.0 ? -1.0
            : wrong > 0.0        ? -gamma * pow(wrong, gamma - 1.0) * right * surprise - focus
                                 : 0.0;
        return weight * focus * surprise;
    }

    __device__ double slope(int k, double score) const {
        return weight * steepness * (k == label ? wrong : -(exp(score - maximum) / sum));
    }
};

enum { COSINE_MARGIN = 0, ANGLE_MARGIN = 1, EASY_ANGLE_MARGIN = 2 };

struct Margin {
    double margin, scale, weight, maximum, sum, moved, turned;
    int kind, classes, label;

    __device__ Margin(int classes, int label, const double* weights, const double* settings)
        : margin(settings[0]),
          scale(settings[1]),
          weight(weight_of(weights, label)),
          kind((int)settings[2]),
          classes(classes),
          label(label) {}

    // The score of the right class with its margin, and the slope of that.
    __device__ void move(double cosine) {
        turned = 1.0;
        if (kind == COSINE_MARGIN) {
            moved = cosine - margin;
        } else if (kind == EASY_ANGLE_MARGIN && cosine <= 0.0) {
            moved = cosine;
        } else if (kind == ANGLE_MARGIN && cosine <= -cos(margin)) {
            moved = cosine - sin(margin) * margin;
        } else {
            double squared = (1.0 - cosine) * (1.0 + cosine), least = 1e-7;
            double sine = sqrt(squared > least ? squared : least);
            moved = cosine * cos(margin) - sine * sin(margin);
            turned = cos(margin) + (squared > least ? cosine / sine : 0.0) * sin(margin);
        }
        moved *= scale;
    }

    template <typename T>
    __device__ double loss(const T* scores, double* values) {
        move((double)widen(scores[label]) / scale);
        double most = -INFINITY, exponentials = 0.0;
        for (int k = threadIdx.x; k < classes; k += THREADS)
            most = Maximum::join(k == label ? moved : (double)widen(scores[k]), most);
        maximum = over_block<Maximum>(most, values);
        for (int k = threadIdx.x; k < classes; k += THREADS)
            exponentials += exp((k == label ? moved : (double)widen(scores[k])) - maximum);
        sum = over_block<Sum>(exponentials, values);
        return weight * (log(sum) - (moved - maximum));
    }

    __device__ double slope(int k, double score) const {
        double probability = exp((k == label ? moved : score) - maximum) / sum;
        return weight * (k == label ? (probability - 1.0) * turned : probability);
    }
};

struct Settings {
    double numbers[3];
};

// Of row r the first of its two classes has `shares[r]`, the second the rest; `part` is what a row counts in the mean.
template <typename Loss, typename T>
__device__ void against_mixtures(
    int classes, const T* scores, const unsigned int* pairs, const double* shares, const double* weights,
    Settings settings, double part, double* losses, T* gradient) {
    __shared__ double values[THREADS];
    const unsigned int* pair = pairs + 2 * (index_t)blockIdx.x;
    scores += (index_t)blockIdx.x * classes;
    double first = shares[blockIdx.x], second = 1.0 - first, sum = 0.0;
    Loss one(classes, (int)pair[0], weights, settings.numbers), other(classes, (int)pair[1], weights, settings.numbers);
    if (first > 0.0) sum += first * one.loss(scores, values);
    if (second > 0.0) sum += second * other.loss(scores, values);
    if (threadIdx.x == 0) losses[blockIdx.x] = sum;
    if (!gradient) return;
    gradient += (index_t)blockIdx.x * classes;
    for (int k = threadIdx.x; k < classes; k += THREADS) {
        double score = widen(scores[k]), slope = 0.0;
        if (first > 0.0) slope += first * one.slope(k, score);
        if (second > 0.0) slope += second * other.slope(k, score);
        narrow((float)(slope * part), gradient + k);
    }
}
#define PARAMETERS(T)                                                                                               \
    (int classes, const T* scores, const unsigned int* pairs, const double* shares, const double* weights,          \
     Settings settings, double part, double* losses, T* gradient)
#define ARGUMENTS (classes, scores, pairs, shares, weights, settings, part, losses, gradient)
#define MIXTURES(NAME, LOSS)                                                                                         \
    extern "C" __global__ void NAME##_f32 PARAMETERS(float) { against_mixtures<LOSS, float> ARGUMENTS; }             \
    extern "C" __global__ void NAME##_bf16 PARAMETERS(bf16) { against_mixtures<LOSS, bf16> ARGUMENTS; }              \
    extern "C" __global__ void NAME##_f16 PARAMETERS(f16) { against_mixtures<LOSS, f16> ARGUMENTS; }
MIXTURES(weighted_cross_entropy, WeightedCrossEntropy)
MIXTURES(focal, Focal)
MIXTURES(margin, Margin)
#undef MIXTURES
#undef ARGUMENTS
#undef PARAMETERS

// Of ops::binary_cross_entropy: each class by itself, a row's loss the mean over its classes.
template <typename T>
__device__ void binary_cross_entropy(
    int classes, const T* logits, const float* targets, const double* weights, double part, double* losses,
    T* gradient) {
    __shared__ double values[THREADS];
    index_t row = (index_t)blockIdx.x * classes;
    double sum = 0.0;
    for (int k = threadIdx.x; k < classes; k += THREADS) {
        double x = widen(logits[row + k]), target = targets[row + k], weight = weight_of(weights, k);
        double exponential = exp(-fabs(x)), rest = log1p(exponential);
        double small = exponential / (1.0 + exponential), large = 1.0 / (1.0 + exponential);
        double probability = x >= 0.0 ? large : small, complement = x >= 0.0 ? small : large;
        sum += weight * target * ((x < 0.0 ? -x : 0.0) + rest) + (1.0 - target) * ((x > 0.0 ? x : 0.0) + rest);
        double slope = (1.0 - target) * probability - weight * target * complement;
        if (gradient) narrow((float)(slope * part), gradient + row + k);
    }
    sum = over_block<Sum>(sum, values);
    if (threadIdx.x == 0) losses[blockIdx.x] = sum / (double)classes;
}
#define PARAMETERS(T)                                                                                             \
    (int classes, const T* logits, const float* targets, const double* weights, double part, double* losses, \
     T* gradient)
TYPED(binary_cross_entropy, PARAMETERS, (classes, logits, targets, weights, part, losses, gradient))
#undef PARAMETERS

// Of logits over a temperature: the maximum, and the sum of exponentials of what is left.
template <typename T>
__device__ void cooled(int classes, const T* logits, double temperature, double* maximum, double* sum, double* values) {
    double most = -INFINITY, exponentials = 0.0;
    for (int k = threadIdx.x; k < classes; k += THREADS)
        most = Maximum::join((double)widen(logits[k]) / temperature, most);
    *maximum = over_block<Maximum>(most, values);
    for (int k = threadIdx.x; k < classes; k += THREADS)
        exponentials += exp((double)widen(logits[k]) / temperature - *maximum);
    *sum = over_block<Sum>(exponentials, values);
}

// Of ops::distillation.
template <typename T>
__device__ void distillation(
    int classes, const T* student, const float* teacher, double temperature, double share, double* losses,
    T* gradient) {
    __shared__ double values[THREADS];
    index_t row = (index_t)blockIdx.x * classes;
    double p_maximum, p_sum, q_maximum, q_sum, divergence = 0.0;
    cooled(classes, teacher + row, temperature, &p_maximum, &p_sum, values);
    cooled(classes, student + row, temperature, &q_maximum, &q_sum, values);
    double shift = log(q_sum) - log(p_sum);
    for (int k = threadIdx.x; k < classes; k += THREADS) {
        double of_teacher = (double)teacher[row + k] / temperature - p_maximum;
        double of_student = (double)widen(student[row + k]) / temperature - q_maximum;
        double p = exp(of_teacher) / p_sum, q = exp(of_student) / q_sum;
        if (p > 0.0) divergence += p * (of_teacher - of_student + shift);
        if (gradient) narrow((float)(temperature * (q - p) * share), gradient + row + k);
    }
    divergence = over_block<Sum>(divergence, values);
    if (threadIdx.x == 0) losses[blockIdx.x] = temperature * temperature * divergence;
}
#define PARAMETERS(T)                                                                                            \
    (int classes, const T* student, const float* teacher, double temperature, double share, double* losses, \
     T* gradient)
TYPED(distillation, PARAMETERS, (classes, student, teacher, temperature, share, losses, gradient))
#undef PARAMETERS
