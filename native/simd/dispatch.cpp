#include <cstring>

#include "simd/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace pcqat {

#define PCQAT_DECLARE_TABLES(ISA)                            \
  extern const F32Kernels f32_kernels_##ISA;                 \
  extern const CompressionKernels compression_kernels_##ISA; \
  extern const Int8Kernels int8_kernels_##ISA;

PCQAT_DECLARE_TABLES(scalar)
#if defined(__x86_64__)
PCQAT_DECLARE_TABLES(avx2)
PCQAT_DECLARE_TABLES(avx512)
extern const Int8Kernels int8_kernels_avx512vnni;
extern const CodeProduct code_product_avx512vnni;
extern const Bf16Product bf16_product_avx512bf16;
#elif defined(__aarch64__)
PCQAT_DECLARE_TABLES(neon)
#endif

namespace {

#if defined(__x86_64__)
struct Cpu {
  bool avx2 = false, avx512 = false, vnni = false, bf16 = false;
};

unsigned long long xgetbv() {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<unsigned long long>(high) << 32) | low;
}

Cpu detect() {
  Cpu cpu;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return cpu;
  const bool fma = c & bit_FMA, osxsave = c & bit_OSXSAVE, avx = c & bit_AVX;
  if (!osxsave || !avx) return cpu;
  const unsigned long long state = xgetbv();
  const bool ymm = (state & 0x6) == 0x6, zmm = (state & 0xe6) == 0xe6;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return cpu;
  cpu.avx2 = ymm && fma && (b & bit_AVX2);
  cpu.avx512 = cpu.avx2 && zmm && (b & bit_AVX512F) && (b & bit_AVX512BW) && (b & bit_AVX512DQ) && (b & bit_AVX512VL);
  cpu.vnni = cpu.avx512 && (c & bit_AVX512VNNI);
  if (cpu.vnni && __get_cpuid_count(7, 1, &a, &b, &c, &d)) cpu.bf16 = a & bit_AVX512BF16;
  return cpu;
}
#endif

const Kernels kScalar{"scalar", &f32_kernels_scalar, &compression_kernels_scalar, &int8_kernels_scalar, nullptr, nullptr};
#if defined(__x86_64__)
const Kernels kAvx2{"avx2", &f32_kernels_avx2, &compression_kernels_avx2, &int8_kernels_avx2, nullptr, nullptr};
const Kernels kAvx512{"avx512", &f32_kernels_avx512, &compression_kernels_avx512, &int8_kernels_avx512, nullptr, nullptr};
// VNNI adds dot products of bytes and BF16 those of bfloat16; the other families are those of avx512.
const Kernels kAvx512Vnni{
    "avx512vnni", &f32_kernels_avx512, &compression_kernels_avx512, &int8_kernels_avx512vnni, &code_product_avx512vnni, nullptr};
const Kernels kAvx512Bf16{"avx512bf16",
                          &f32_kernels_avx512,
                          &compression_kernels_avx512,
                          &int8_kernels_avx512vnni,
                          &code_product_avx512vnni,
                          &bf16_product_avx512bf16};
#elif defined(__aarch64__)
const Kernels kNeon{"neon", &f32_kernels_neon, &compression_kernels_neon, &int8_kernels_neon, nullptr, nullptr};
#endif

}  // namespace

int supported_kernels(const Kernels** out) {
  int count = 0;
  out[count++] = &kScalar;
#if defined(__x86_64__)
  static const Cpu cpu = detect();
  if (cpu.avx2) out[count++] = &kAvx2;
  if (cpu.avx512) out[count++] = &kAvx512;
  if (cpu.vnni) out[count++] = &kAvx512Vnni;
  if (cpu.bf16) out[count++] = &kAvx512Bf16;
#elif defined(__aarch64__)
  out[count++] = &kNeon;
#endif
  return count;
}

const Kernels* find_kernels(const char* name) {
  const Kernels* tables[kMostKernels];
  const int count = supported_kernels(tables);
  if (name == nullptr) return tables[count - 1];
  for (int i = 0; i < count; ++i) {
    if (std::strcmp(tables[i]->isa, name) == 0) return tables[i];
  }
  return nullptr;
}

}  // namespace pcqat
