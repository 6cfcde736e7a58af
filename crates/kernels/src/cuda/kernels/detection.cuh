// The loss of detection heads and their decoded predictions: see ops::detection, of which these are the formulas. In doubles
// whatever the logits are; only the class term, which goes over all logits, is in floats with sums in doubles.
#pragma once
#include "common.cuh"

// Feature maps, anchor points of an object, and what is no anchor point or object.
#define LEVELS 5
#define TAKEN 10
#define NOBODY 0xffffffffu

// Anchor points are numbered by level, row and column; `first` is that of a level. Logits, or their gradients, are at the
// addresses: boxes [images, height, width, 4 * bins], classes [images, height, width, classes].
struct Head {
    int images, classes, bins, levels, points;
    int stride[LEVELS], height[LEVELS], width[LEVELS], first[LEVELS], unused;
    unsigned long long boxes[LEVELS], scores[LEVELS];
};

// An anchor point: its level, its place there among all images, and its centre in units of the stride.
struct Anchor {
    int level, stride;
    index_t cell;
    double x, y;
};

__device__ __forceinline__ Anchor anchor_of(const Head& head, int image, int anchor) {
    int level = head.levels - 1;
    while (head.first[level] > anchor) level--;
    int cell = anchor - head.first[level], width = head.width[level];
    index_t cells = (index_t)head.height[level] * width;
    return {level, head.stride[level], image * cells + cell, cell % width + 0.5, cell / width + 0.5};
}

template <typename T>
__device__ __forceinline__ T* boxes_of(const Head& head, const Anchor& anchor) {
    T* boxes = (T*)head.boxes[anchor.level];
    return boxes ? boxes + anchor.cell * (4 * head.bins) : boxes;
}

template <typename T>
__device__ __forceinline__ T* scores_of(const Head& head, const Anchor& anchor) {
    T* scores = (T*)head.scores[anchor.level];
    return scores ? scores + anchor.cell * head.classes : scores;
}

__device__ __forceinline__ double sigmoid_in_double(double x) { return 1.0 / (1.0 + exp(-x)); }

// The softmax of a side.
struct Distribution {
    double maximum, sum, mean;

    template <typename T>
    __device__ Distribution(int bins, const T* logits) : maximum(widen(logits[0])), sum(0.0) {
        double weighted = 0.0;
        for (int bin = 1; bin < bins; bin++) maximum = Maximum::join(widen(logits[bin]), maximum);
        for (int bin = 0; bin < bins; bin++) {
            double exponential = exp((double)widen(logits[bin]) - maximum);
            sum += exponential;
            weighted += bin * exponential;
        }
        mean = weighted / sum;
    }
};

// left, top, right, bottom
struct Corners {
    double at[4];
};

__device__ __forceinline__ Corners read_corners(const double* from) { return {{from[0], from[1], from[2], from[3]}}; }

__device__ __forceinline__ Corners around(const Anchor& anchor, const double* distances) {
    return {{anchor.x - distances[0], anchor.y - distances[1], anchor.x + distances[2], anchor.y + distances[3]}};
}

template <typename T>
__device__ Corners predicted_by(const Head& head, const Anchor& anchor) {
    double distances[4];
    const T* logits = boxes_of<T>(head, anchor);
    for (int side = 0; side < 4; side++) distances[side] = Distribution(head.bins, logits + side * head.bins).mean;
    return around(anchor, distances);
}

#define CIOU_EPSILON 1e-7

__device__ __forceinline__ double aspect_of(const Corners& box) {
    return atan((box.at[2] - box.at[0]) / (box.at[3] - box.at[1] + CIOU_EPSILON));
}

__device__ __forceinline__ double smaller(double a, double b) { return a < b ? a : b; }
__device__ __forceinline__ double larger(double a, double b) { return a > b ? a : b; }
__device__ __forceinline__ double passes(double a, double b) { return a > b ? 1.0 : a == b ? 0.5 : 0.0; }

#define SHAPE (4.0 / (3.14159265358979323846 * 3.14159265358979323846))

// As ops::detection::iou.
struct Ciou {
    Corners target, predicted;
    double overlap[2], enclosing[2], offset[2], shared, joined, diagonal, distance, turn, v, alpha;

    __device__ Ciou(const Corners& target, double target_aspect, const Corners& predicted, double predicted_aspect)
        : target(target), predicted(predicted) {
        const double *t = target.at, *p = predicted.at;
        for (int axis = 0; axis < 2; axis++) {
            overlap[axis] = larger(smaller(p[axis + 2], t[axis + 2]) - larger(p[axis], t[axis]), 0.0);
            enclosing[axis] = larger(p[axis + 2], t[axis + 2]) - smaller(p[axis], t[axis]);
            offset[axis] = (p[axis] + p[axis + 2]) - (t[axis] + t[axis + 2]);
        }
        shared = overlap[0] * overlap[1];
        double area = (t[2] - t[0]) * (t[3] - t[1] + CIOU_EPSILON);
        joined = area + (p[2] - p[0]) * (p[3] - p[1] + CIOU_EPSILON) - shared + CIOU_EPSILON;
        diagonal = enclosing[0] * enclosing[0] + enclosing[1] * enclosing[1] + CIOU_EPSILON;
        distance = (offset[0] * offset[0] + offset[1] * offset[1]) / 4.0;
        turn = predicted_aspect - target_aspect;
        v = SHAPE * turn * turn;
        alpha = v / (1.0 - shared / joined + v + CIOU_EPSILON);
    }

    __device__ double value() const { return shared / joined - distance / diagonal - alpha * v; }

    __device__ void gradient(double* slopes) const {
        const double *t = target.at, *p = predicted.at;
        double width = p[2] - p[0], height = p[3] - p[1] + CIOU_EPSILON, squared = joined * joined;
        double turned = alpha * 2.0 * SHAPE * turn / (width * width + height * height);
        for (int axis = 0; axis < 2; axis++) {
            int low = axis, high = axis + 2;
            double across = axis == 0 ? height : width, sign = axis == 0 ? 1.0 : -1.0;
            double side = -shared / squared * across - turned * across * sign;
            bool meet = smaller(p[high], t[high]) >= larger(p[low], t[low]);
            double of_shared = meet ? (joined + shared) / squared * overlap[1 - axis] : 0.0;
            double outer = 2.0 * distance / (diagonal * diagonal) * enclosing[axis];
            double centre = -offset[axis] / 2.0 / diagonal;
            slopes[low] = -side - of_shared * passes(p[low], t[low]) - outer * passes(t[low], p[low]) + centre;
            slopes[high] = side + of_shared * passes(t[high], p[high]) + outer * passes(p[high], t[high]) + centre;
        }
    }
};

// Of all images: the boxes in pixels and their aspects, [images * points, 5].
template <typename T>
__device__ void detection_boxes(Head head, index_t count, double* predicted) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int point, image = (int)divide(i, head.points, &point);
        Anchor anchor = anchor_of(head, image, point);
        Corners box = predicted_by<T>(head, anchor);
        for (int side = 0; side < 4; side++) predicted[5 * i + side] = box.at[side] *= anchor.stride;
        predicted[5 * i + 4] = aspect_of(box);
    }
}
#define PARAMETERS(T) (Head head, index_t count, double* predicted)
TYPED(detection_boxes, PARAMETERS, (head, count, predicted))
#undef PARAMETERS

// The boxes [images, points, 4] of ops::detection::decode.
template <typename T>
__device__ void detection_decode(Head head, index_t count, float* boxes) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int point, image = (int)divide(i, head.points, &point);
        Anchor anchor = anchor_of(head, image, point);
        Corners box = predicted_by<T>(head, anchor);
        for (int side = 0; side < 4; side++) boxes[4 * i + side] = (float)(box.at[side] * anchor.stride);
    }
}
#define PARAMETERS(T) (Head head, index_t count, float* boxes)
TYPED(detection_decode, PARAMETERS, (head, count, boxes))
#undef PARAMETERS

// And its scores [images, points, classes].
template <typename T>
__device__ void detection_scores(Head head, index_t count, float* scores) {
    for (index_t i = first_index(); i < count; i += stride()) {
        int label, point;
        index_t row = divide(i, head.classes, &label);
        int image = (int)divide(row, head.points, &point);
        scores[i] = sigmoid(widen(scores_of<T>(head, anchor_of(head, image, point))[label]));
    }
}
#define PARAMETERS(T) (Head head, index_t count, float* scores)
TYPED(detection_scores, PARAMETERS, (head, count, scores))
#undef PARAMETERS

// The objects of a batch in order of images: image and class, corners in pixels with their aspect, and where the anchor points
// must be: [objects, 9]. Those of image i are firsts[i]..firsts[i + 1].
struct Object {
    int image, label;
    Corners box, area;
    double aspect;

    __device__ Object(unsigned int index, const unsigned int* labels, const double* numbers)
        : image((int)labels[2 * index]),
          label((int)labels[2 * index + 1]),
          box(read_corners(numbers + 9 * (index_t)index)),
          area(read_corners(numbers + 9 * (index_t)index + 4)),
          aspect(numbers[9 * (index_t)index + 8]) {}

    __device__ bool has(const Anchor& anchor) const {
        double x = anchor.x * anchor.stride, y = anchor.y * anchor.stride, margin = 1e-9;
        return x - area.at[0] > margin && area.at[2] - x > margin && y - area.at[1] > margin && area.at[3] - y > margin;
    }

    __device__ double overlap(const double* predicted) const {
        double value = Ciou(box, aspect, read_corners(predicted), predicted[4]).value();
        return value < 0.0 ? 0.0 : value;
    }

    template <typename T>
    __device__ double alignment(const Head& head, const Anchor& anchor, double overlap) const {
        if (overlap == 0.0) return 0.0;
        double cube = overlap * overlap * overlap;
        return sqrt(sigmoid_in_double(widen(scores_of<T>(head, anchor)[label]))) * cube * cube;
    }
};

// A NaN ranks above all numbers, so that it reaches the loss.
__device__ __forceinline__ double rank_of(double x) { return x == x ? x : INFINITY; }

// Whether the first of two ranked anchor points comes before the second.
__device__ __forceinline__ bool is_before(double rank, unsigned int anchor, double other_rank, unsigned int other) {
    return rank > other_rank || (rank == other_rank && anchor < other);
}

// The anchor points that an object takes, [objects, TAKEN], a block for each object. In each round every thread finds the best
// of its own that comes after the last one taken.
template <typename T>
__device__ void detection_claims(
    Head head, const unsigned int* labels, const double* numbers, const double* predicted, unsigned int* claims) {
    __shared__ double ranks[THREADS];
    __shared__ unsigned int anchors[THREADS];
    Object object(blockIdx.x, labels, numbers);
    predicted += (index_t)object.image * head.points * 5;
    claims += (index_t)blockIdx.x * TAKEN;
    double last_rank = INFINITY;
    unsigned int last = NOBODY;
    for (int round = 0; round < TAKEN; round++) {
        double best_rank = 0.0;
        unsigned int best = NOBODY;
        for (int point = threadIdx.x; point < head.points; point += THREADS) {
            Anchor anchor = anchor_of(head, object.image, point);
            if (!object.has(anchor)) continue;
            double overlap = object.overlap(predicted + 5 * (index_t)point);
            double rank = rank_of(object.alignment<T>(head, anchor, overlap));
            bool is_left = last == NOBODY || is_before(last_rank, last, rank, point);
            if (is_left && rank > 0.0 && is_before(rank, point, best_rank, best)) {
                best_rank = rank;
                best = point;
            }
        }
        ranks[threadIdx.x] = best_rank;
        anchors[threadIdx.x] = best;
        for (int half = THREADS / 2; half > 0; half /= 2) {
            __syncthreads();
            int mine = threadIdx.x, other = mine + half;
            if (mine < half && is_before(ranks[other], anchors[other], ranks[mine], anchors[mine])) {
                ranks[mine] = ranks[other];
                anchors[mine] = anchors[other];
            }
        }
        __syncthreads();
        last_rank = ranks[0];
        last = anchors[0];
        __syncthreads();
        if (threadIdx.x == 0) claims[round] = last;
        if (last == NOBODY) {
            for (int rest = round + 1 + threadIdx.x; rest < TAKEN; rest += THREADS) claims[rest] = NOBODY;
            return;
        }
    }
}
#define PARAMETERS(T) \
    (Head head, const unsigned int* labels, const double* numbers, const double* predicted, unsigned int* claims)
TYPED(detection_claims, PARAMETERS, (head, labels, numbers, predicted, claims))
#undef PARAMETERS

// The object that each claimed anchor point goes to, with alignment and overlap, [objects * TAKEN] and [objects * TAKEN, 2].
// Where several claim one, the first of the claims has the owner, and the others get NOBODY.
template <typename T>
__device__ void detection_owners(
    Head head, index_t count, const unsigned int* firsts, const unsigned int* labels, const double* numbers,
    const double* predicted, const unsigned int* claims, unsigned int* owners, double* alignments) {
    for (index_t i = first_index(); i < count; i += stride()) {
        unsigned int point = claims[i], owner = NOBODY;
        double alignment = 0.0, overlap = 0.0;
        if (point != NOBODY) {
            int image = (int)labels[2 * (i / TAKEN)];
            unsigned int begin = firsts[image], end = firsts[image + 1];
            index_t first = i, others = 0;
            for (index_t claim = (index_t)begin * TAKEN; claim < (index_t)end * TAKEN; claim++) {
                if (claims[claim] != point || claim == i) continue;
                others++;
                if (claim < first) first = claim;
            }
            const double* box = predicted + 5 * ((index_t)image * head.points + point);
            Anchor anchor = anchor_of(head, image, (int)point);
            if (first == i) {
                owner = (unsigned int)(i / TAKEN);
                overlap = Object(owner, labels, numbers).overlap(box);
                if (others > 0) {
                    double best = -1.0;
                    for (unsigned int index = begin; index < end; index++) {
                        Object object(index, labels, numbers);
                        if (!object.has(anchor)) continue;
                        double rival = object.overlap(box);
                        if (rank_of(rival) > best) {
                            best = rank_of(rival);
                            overlap = rival;
                            owner = index;
                        }
                    }
                }
                alignment = Object(owner, labels, numbers).template alignment<T>(head, anchor, overlap);
            }
        }
        owners[i] = owner;
        alignments[2 * i] = alignment;
        alignments[2 * i + 1] = overlap;
    }
}
#define PARAMETERS(T)                                                                                            \
    (Head head, index_t count, const unsigned int* firsts, const unsigned int* labels, const double* numbers,    \
     const double* predicted, const unsigned int* claims, unsigned int* owners, double* alignments)
TYPED(detection_owners, PARAMETERS, (head, count, firsts, labels, numbers, predicted, claims, owners, alignments))
#undef PARAMETERS

struct Gains {
    double box, classes, distances;
};

// Of each claim: the score t, t times the logit of the class, and the weighted losses of box and distances, [claims, 4]; and
// the gradient of the last two for the box logits, [claims, 4 * bins].
template <typename T>
__device__ void detection_positives(
    Head head, index_t count, Gains gains, const unsigned int* firsts, const unsigned int* labels,
    const double* numbers, const unsigned int* claims, const unsigned int* owners, const double* alignments,
    double* parts, float* slopes) {
    int bins = head.bins;
    for (index_t i = first_index(); i < count; i += stride()) {
        unsigned int owner = owners[i];
        double* part = parts + 4 * i;
        for (int k = 0; k < 4; k++) part[k] = 0.0;
        if (owner == NOBODY) continue;
        Object object(owner, labels, numbers);
        double alignment = 0.0, overlap = 0.0;
        index_t end = (index_t)firsts[object.image + 1] * TAKEN;
        for (index_t claim = (index_t)firsts[object.image] * TAKEN; claim < end; claim++) {
            if (owners[claim] != owner) continue;
            alignment = larger(alignments[2 * claim], alignment);
            overlap = larger(alignments[2 * claim + 1], overlap);
        }
        double score = alignments[2 * i] * overlap / (alignment + 1e-9);
        Anchor anchor = anchor_of(head, object.image, (int)claims[i]);
        const T* logits = boxes_of<T>(head, anchor);
        Corners target;
        for (int side = 0; side < 4; side++) target.at[side] = object.box.at[side] / anchor.stride;
        Corners predicted = predicted_by<T>(head, anchor);
        Ciou ciou(target, aspect_of(target), predicted, aspect_of(predicted));
        double steps[4], surprise = 0.0, of_distance = gains.distances * score / 4.0;
        ciou.gradient(steps);
        for (int side = 0; side < 4; side++) {
            const T* row = logits + side * bins;
            Distribution distribution(bins, row);
            double point = side % 2 == 0 ? anchor.x : anchor.y, log_sum = log(distribution.sum);
            double distance = side < 2 ? point - target.at[side] : target.at[side] - point;
            distance = smaller(larger(distance, 0.0), bins - 1 - 0.01);
            int lower = (int)floor(distance);
            double shares[2] = {lower + 1.0 - distance, distance - lower};
            for (int k = 0; k < 2; k++)
                surprise += shares[k] * (log_sum - ((double)widen(row[lower + k]) - distribution.maximum)) / 4.0;
            double of_box = -gains.box * score * (side < 2 ? -steps[side] : steps[side]);
            for (int bin = 0; bin < bins; bin++) {
                double probability = exp((double)widen(row[bin]) - distribution.maximum) / distribution.sum;
                double share = bin == lower ? shares[0] : bin == lower + 1 ? shares[1] : 0.0;
                double slope = of_box * probability * (bin - distribution.mean) + of_distance * (probability - share);
                slopes[i * (4 * bins) + side * bins + bin] = (float)slope;
            }
        }
        part[0] = score;
        part[1] = score * (double)widen(scores_of<T>(head, anchor)[object.label]);
        part[2] = score * (1.0 - ciou.value());
        part[3] = score * surprise;
    }
}
#define PARAMETERS(T)                                                                                          \
    (Head head, index_t count, Gains gains, const unsigned int* firsts, const unsigned int* labels,            \
     const double* numbers, const unsigned int* claims, const unsigned int* owners, const double* alignments,  \
     double* parts, float* slopes)
TYPED(detection_positives, PARAMETERS,
     (head, count, gains, firsts, labels, numbers, claims, owners, alignments, parts, slopes))
#undef PARAMETERS

// Binary cross-entropy against 0, summed over each chunk of `chunk` logits, a block for each.
template <typename T>
__device__ void detection_against_zero(index_t count, index_t chunk, const T* logits, double* sums) {
    __shared__ double values[THREADS];
    index_t begin = blockIdx.x * chunk, end = begin + chunk < count ? begin + chunk : count;
    double sum = 0.0;
    for (index_t i = begin + threadIdx.x; i < end; i += THREADS) {
        float x = widen(logits[i]);
        sum += (x < 0.0f ? 0.0f : x) + log1pf(expf(-fabsf(x)));
    }
    sum = over_block<Sum>(sum, values);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}
#define PARAMETERS(T) (index_t count, index_t chunk, const T* logits, double* sums)
TYPED(detection_against_zero, PARAMETERS, (count, chunk, logits, sums))
#undef PARAMETERS

// The terms of boxes, classes and distances, the divisor, and the total, by one block.
extern "C" __global__ void detection_total(int claims, int chunks, Gains gains, const double* parts, const double* sums, double* terms, float* total) {
    __shared__ double values[THREADS];
    double joined[4];
    for (int part = 0; part < 4; part++) {
        double sum = 0.0;
        for (int claim = threadIdx.x; claim < claims; claim += THREADS) sum += parts[4 * (index_t)claim + part];
        joined[part] = over_block<Sum>(sum, values);
    }
    double sum = 0.0;
    for (int chunk = threadIdx.x; chunk < chunks; chunk += THREADS) sum += sums[chunk];
    sum = over_block<Sum>(sum, values);
    if (threadIdx.x > 0) return;
    double divisor = joined[0] < 1.0 ? 1.0 : joined[0];
    terms[0] = gains.box * joined[2] / divisor;
    terms[1] = gains.classes * (sum - joined[1]) / divisor;
    terms[2] = gains.distances * joined[3] / divisor;
    terms[3] = divisor;
    *total = (float)(terms[0] + terms[1] + terms[2]);
}

// The gradient of the class term against 0. `terms` are those of detection_total, here and below.
template <typename T>
__device__ void detection_class_gradient(
    index_t count, double gain, const T* logits, const double* terms, const float* grad, T* gradient) {
    float factor = (float)(gain / terms[3] * (double)*grad);
    for (index_t i = first_index(); i < count; i += stride()) narrow(sigmoid(widen(logits[i])) * factor, gradient + i);
}
#define PARAMETERS(T) \
    (index_t count, double gain, const T* logits, const double* terms, const float* grad, T* gradient)
TYPED(detection_class_gradient, PARAMETERS, (count, gain, logits, terms, grad, gradient))
#undef PARAMETERS

extern "C" __global__ void detection_zeros_f32(index_t count, float* out) {
    for (index_t i = first_index(); i < count; i += stride()) out[i] = 0.0f;
}

extern "C" __global__ void detection_zeros_bf16(index_t count, bf16* out) {
    for (index_t i = first_index(); i < count; i += stride()) out[i].bits = 0;
}

extern "C" __global__ void detection_zeros_f16(index_t count, f16* out) {
    for (index_t i = first_index(); i < count; i += stride()) out[i].bits = 0;
}

// Writes the gradients of assigned anchor points over those of the others: for each claim those of the box logits, and of the
// logit of the class. `towards` has the addresses of gradients, 0 where none is wanted.
template <typename T>
__device__ void detection_positive_gradient(
    Head head, Head towards, index_t count, Gains gains, const unsigned int* labels, const unsigned int* claims,
    const unsigned int* owners, const double* parts, const float* slopes, const double* terms, const float* grad) {
    double scale = (double)*grad / terms[3];
    int width = 4 * head.bins;
    for (index_t i = first_index(); i < count; i += stride()) {
        int place;
        index_t claim = divide(i, width + 1, &place);
        unsigned int owner = owners[claim];
        if (owner == NOBODY) continue;
        Anchor anchor = anchor_of(head, (int)labels[2 * (index_t)owner], (int)claims[claim]);
        if (place < width) {
            T* boxes = boxes_of<T>(towards, anchor);
            if (boxes) narrow((float)(slopes[claim * width + place] * scale), boxes + place);
        } else {
            int label = (int)labels[2 * (index_t)owner + 1];
            T* scores = scores_of<T>(towards, anchor);
            if (!scores) continue;
            double logit = widen(scores_of<T>(head, anchor)[label]);
            double slope = sigmoid_in_double(logit) - parts[4 * claim];
            narrow((float)(gains.classes * slope * scale), scores + label);
        }
    }
}
#define PARAMETERS(T)                                                                                              \
    (Head head, Head towards, index_t count, Gains gains, const unsigned int* labels, const unsigned int* claims,  \
     const unsigned int* owners, const double* parts, const float* slopes, const double* terms, const float* grad)
TYPED(detection_positive_gradient, PARAMETERS,
     (head, towards, count, gains, labels, claims, owners, parts, slopes, terms, grad))
#undef PARAMETERS
