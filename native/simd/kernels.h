// The function table of one instruction set. Each family has its own header and its own translation unit per
// instruction set (simd/<isa>/<family>.cpp), which includes simd/<family>_impl.h with PCQAT_ISA_NAMESPACE defined.
// Those units include no STL header and share no inline function with other units, so that no AVX-512 instruction
// can end up in code that runs on a baseline CPU.
#pragma once

namespace pcqat {

struct F32Kernels;          // simd/f32_kernels.h
struct CompressionKernels;  // simd/compression_kernels.h
struct Int8Kernels;         // simd/int8_kernels.h
struct CodeProduct;         // simd/product_kernels.h
struct Bf16Product;

struct Kernels {
  const char* isa;
  const F32Kernels* f32;
  const CompressionKernels* compression;
  const Int8Kernels* int8;
  const CodeProduct* code_product;  // null: products of codes are taken in f32
  const Bf16Product* bf16_product;  // null: not on this instruction set
};

// Table for `name`, or for the best instruction set when name is null. Null when unknown, not built or not supported
// by this CPU.
const Kernels* find_kernels(const char* name);

constexpr int kMostKernels = 6;
// Supported tables, worst to best; returns their count (at most kMostKernels).
int supported_kernels(const Kernels** out);

}  // namespace pcqat
