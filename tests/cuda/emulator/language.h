// CUDA C++ on the processor: enough of the language for the kernels of crates/kernels/src/cuda/kernels, compiled as plain C++.
//
// The threads of a block are fibers that take turns and give way at __syncthreads, so that a kernel's sums and barriers do
// what they do on a GPU. Blocks come one after another.
#pragma once
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "half.h"

#define __global__
#define __device__
#define __forceinline__ inline
// Blocks come one after another, so a block's shared memory may lie where the last one's lay.
#define __shared__ static

struct Triple {
    unsigned int x, y, z;
};

inline Triple gridDim, blockDim, blockIdx, threadIdx;

using std::max;
using std::min;
inline long long min(long long a, unsigned int b) { return a < (long long)b ? a : (long long)b; }

inline unsigned int __float_as_uint(float x) {
    unsigned int bits;
    memcpy(&bits, &x, 4);
    return bits;
}

inline float __uint_as_float(unsigned int bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

// Saves where this fiber is and goes on where another was (x86-64, System V: what a call must keep goes on the stack).
asm(R"(
.pushsection .text
.type switch_fiber, @function
switch_fiber:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
.popsection
)");
extern "C" void switch_fiber(void** save, void* to) __attribute__((visibility("hidden")));

class Block {
   public:
    // Threads that never wait for each other, as those of kernels that go over numbers, need no stacks of their own.
    static void run(unsigned int threads, bool wait, const std::function<void()>& body) {
        current = nullptr;
        if (!wait) {
            for (unsigned int thread = 0; thread < threads; thread++) {
                threadIdx = {thread % blockDim.x, thread / blockDim.x, 0};
                body();
            }
            return;
        }
        Block block(threads, body);
        while (block.left > 0) {
            for (unsigned int thread = 0; thread < threads; thread++) block.resume(thread);
        }
    }

    static void give_way() {
        if (!current) {
            fprintf(stderr, "emulated GPU: a kernel over numbers has a barrier\n");
            abort();
        }
        switch_fiber(&current->fibers[current->thread], current->main);
    }

   private:
    static constexpr size_t STACK = 1 << 15;
    inline static Block* current;
    inline static std::vector<char> stacks;

    Block(unsigned int threads, const std::function<void()>& body)
        : body(body), fibers(threads), done(threads, false), left(threads) {
        current = this;
        if (stacks.size() < (threads + 1) * STACK) stacks.resize((threads + 1) * STACK);
        for (unsigned int thread = 0; thread < threads; thread++) {
            size_t top = ((size_t)stacks.data() + (thread + 1) * STACK) / 64 * 64;
            void** frame = (void**)top - 8;
            frame[6] = (void*)enter;  // where the first switch returns to, with the stack as after a call
            fibers[thread] = frame;
        }
    }

    static void enter() {
        current->body();
        current->done[current->thread] = true;
        current->left--;
        give_way();
    }

    void resume(unsigned int index) {
        if (done[index]) return;
        thread = index;
        threadIdx = {index % blockDim.x, index / blockDim.x, 0};
        switch_fiber(&main, fibers[index]);
    }

    const std::function<void()>& body;
    std::vector<void*> fibers;
    std::vector<bool> done;
    unsigned int left, thread = 0;
    void* main;
};

inline void __syncthreads() { Block::give_way(); }
