// A driver of CUDA that computes on the processor: what cudarc and crates/kernels/src/cuda ask of libcuda.so.1, and no more.
//
// Device memory is the host's, and kernels are those of crates/kernels/src/cuda/kernels by name, whatever PTX is loaded. Everything happens
// at once, but for copies from and to memory of the host that the device uses by itself: these happen as late as they may, so
// that what does not wait for them shows. So does what reads before it writes: new memory is filled with NaN. Threads of the
// program take turns: one kernel, one allocation at a time.
#include "language.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>

#include "all.cu"

namespace {

std::mutex& turns() {
    static std::mutex turns;
    return turns;
}

// What was allocated, to find leaks of bounds and frees of what is not there.
std::map<char*, size_t>& blocks() {
    static std::map<char*, size_t> blocks;
    return blocks;
}

constexpr size_t GUARD = 64;
constexpr unsigned char MARK = 0xA5;

size_t limit() {
    const char* bytes = getenv("EMULATED_GPU_BYTES");
    return bytes ? strtoull(bytes, nullptr, 10) : (size_t)8 << 30;
}

size_t in_use = 0, most = 0;

int allocate(unsigned long long* out, size_t bytes) {
    std::lock_guard<std::mutex> turn(turns());
    if (in_use + bytes > limit()) return 2;  // out of memory
    char* memory = (char*)aligned_alloc(256, (bytes + GUARD + 255) / 256 * 256);
    memset(memory, 0xFF, bytes);
    memset(memory + bytes, MARK, GUARD);
    blocks()[memory] = bytes;
    in_use += bytes;
    most = std::max(most, in_use);
    *out = (unsigned long long)memory;
    return 0;
}

int release(unsigned long long address) {
    std::lock_guard<std::mutex> turn(turns());
    char* memory = (char*)address;
    auto block = blocks().find(memory);
    if (block == blocks().end()) {
        fprintf(stderr, "emulated GPU: freed memory that is not there\n");
        abort();
    }
    for (size_t i = 0; i < GUARD; i++) {
        if ((unsigned char)memory[block->second + i] != MARK) {
            fprintf(stderr, "emulated GPU: a block of %zu bytes was written beyond its end\n", block->second);
            abort();
        }
    }
    in_use -= block->second;
    blocks().erase(block);
    free(memory);
    return 0;
}

using Kernel = std::function<void(void**)>;

template <typename... A, size_t... I>
Kernel unpacked(void (*kernel)(A...), std::index_sequence<I...>) {
    return [kernel](void** parameters) { kernel(*(std::remove_cv_t<A>*)parameters[I]...); };
}

template <typename... A>
Kernel unpacked(void (*kernel)(A...)) {
    return unpacked(kernel, std::index_sequence_for<A...>{});
}

std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> kernels = {
#define KERNEL(name) {#name, unpacked(name)},
#include "kernels.inc"
    };
    return kernels;
}

// Copies that were asked for and are not yet made; each has a number, and an event is the number of the next when it was
// recorded.
struct Copy {
    size_t number;
    bool to_host;
    char* to;
    std::vector<char> bytes;
};

size_t next_copy = 1;

std::vector<Copy>& copies() {
    static std::vector<Copy> copies;
    return copies;
}

// Of memory of the host that the device uses by itself: its beginning, and its bytes.
std::map<char*, size_t>& host_blocks() {
    static std::map<char*, size_t> blocks;
    return blocks;
}

bool is_pinned(const void* memory) {
    auto block = host_blocks().upper_bound((char*)memory);
    return block != host_blocks().begin() && (--block, (char*)memory < block->first + block->second);
}

int copy(void* to, const void* from, size_t bytes, bool to_host) {
    std::lock_guard<std::mutex> turn(turns());
    if (!is_pinned(to_host ? to : from)) return memmove(to, from, bytes), 0;
    copies().push_back({next_copy++, to_host, (char*)to, std::vector<char>((char*)from, (char*)from + bytes)});
    return memset(to, 0xFF, bytes), 0;
}

// Makes the copies ahead of a number: those to the host where the host waits, the others also where a stream does.
int settle(size_t number, bool host_waits) {
    std::lock_guard<std::mutex> turn(turns());
    auto due = [&](Copy& copy) {
        if (copy.number >= number || (copy.to_host && !host_waits)) return false;
        return memcpy(copy.to, copy.bytes.data(), copy.bytes.size()), true;
    };
    copies().erase(std::remove_if(copies().begin(), copies().end(), due), copies().end());
    return 0;
}

int handle;

}  // namespace

extern "C" {

int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* version) { return *version = 13000, 0; }
int cuDeviceGetCount(int* count) { return *count = 1, 0; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, ordinal == 0 ? 0 : 101; }
int cuDeviceGetName(char* name, int length, int) { return snprintf(name, length, "emulated GPU"), 0; }
int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = limit(), 0; }
int cuMemGetInfo_v2(size_t* free, size_t* total) { return *total = limit(), *free = limit() - in_use, 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    // EMULATED_CAPABILITY=75 is compute capability 7.5; 8.0 by default; memory pools
    const char* wish = getenv("EMULATED_CAPABILITY");
    int capability = wish ? atoi(wish) : 80;
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 1;
    return 0;
}
int cuDeviceGetDefaultMemPool(void** pool, int) { return *pool = &handle, 0; }
int cuMemPoolSetAttribute(void*, int attribute, void*) {
    if (attribute == 8) most = in_use;  // the most bytes in use, from now on
    return 0;
}
int cuMemPoolTrimTo(void*, size_t) { return 0; }
int cuMemPoolGetAttribute(void*, int attribute, void* value) {
    return *(unsigned long long*)value = attribute == 8 ? most : in_use, 0;
}
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &handle, 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxSetCurrent(void*) { return 0; }
int cuCtxGetCurrent(void** context) { return *context = &handle, 0; }
int cuCtxSynchronize() { return settle(SIZE_MAX, true); }
int cuStreamCreate(void** stream, unsigned) { return *stream = &handle, 0; }
int cuStreamDestroy_v2(void*) { return 0; }
int cuStreamSynchronize(void*) { return settle(SIZE_MAX, true); }
int cuStreamWaitEvent(void*, size_t* event, unsigned) { return settle(*event, false); }
int cuStreamIsCapturing(void*, int* status) { return *status = 0, 0; }
int cuEventCreate(size_t** event, unsigned) { return *event = new size_t(0), 0; }
int cuEventDestroy_v2(size_t* event) { return delete event, 0; }
int cuEventRecord(size_t* event, void*) { return *event = next_copy, 0; }
int cuEventSynchronize(size_t* event) { return settle(*event, true); }
int cuEventQuery(void*) { return 0; }
int cuMemAllocAsync(unsigned long long* out, size_t bytes, void*) { return allocate(out, bytes); }
int cuMemAlloc_v2(unsigned long long* out, size_t bytes) { return allocate(out, bytes); }
int cuMemFreeAsync(unsigned long long address, void*) { return release(address); }
int cuMemFree_v2(unsigned long long address) { return release(address); }
int cuMemHostAlloc(void** out, size_t bytes, unsigned) {
    std::lock_guard<std::mutex> turn(turns());
    return *out = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096), host_blocks()[(char*)*out] = bytes, 0;
}
int cuMemFreeHost(void* memory) {
    std::lock_guard<std::mutex> turn(turns());
    return host_blocks().erase((char*)memory), free(memory), 0;
}
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void* from, size_t bytes, void*) {
    return copy((void*)to, from, bytes, false);
}
int cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t bytes, void*) {
    return copy(to, (void*)from, bytes, true);
}
int cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t bytes, void*) {
    return memmove((void*)to, (void*)from, bytes), 0;
}
int cuMemsetD8Async(unsigned long long to, unsigned char byte, size_t bytes, void*) {
    return memset((void*)to, byte, bytes), 0;
}
int cuModuleLoadData(void** module, const void*) { return *module = &handle, 0; }
int cuModuleUnload(void*) { return 0; }

int cuModuleGetFunction(void** function, void*, const char* name) {
    auto kernel = kernels().find(name);
    if (kernel == kernels().end()) {
        fprintf(stderr, "emulated GPU: there is no kernel %s\n", name);
        return 500;  // not found
    }
    return *function = &kernel->second, 0;
}

int cuLaunchKernel(
    void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
    unsigned block_z, unsigned, void*, void** parameters, void**) {
    if (block_z != 1 || block_x * block_y > 1024 || grid_y > 65535 || grid_z > 65535 || !grid_x || !grid_y || !grid_z)
        return 1;  // invalid value
    std::lock_guard<std::mutex> turn(turns());
    gridDim = {grid_x, grid_y, grid_z};
    blockDim = {block_x, block_y, 1};
    for (unsigned z = 0; z < grid_z; z++) {
        for (unsigned y = 0; y < grid_y; y++) {
            for (unsigned x = 0; x < grid_x; x++) {
                blockIdx = {x, y, z};
                Block::run(block_x * block_y, block_x * block_y != 256, [&] { (*(Kernel*)function)(parameters); });
            }
        }
    }
    return 0;
}

int cuGetErrorName(int error, const char** name) {
    return *name = error == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR", 0;
}
int cuGetErrorString(int, const char** text) { return *text = "an error of the emulated driver", 0; }

}
