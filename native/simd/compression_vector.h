// Vectors for the compression kernels: `Single` (one element: the scalar table and the tails) and `Wide` (the
// instruction set's registers), with the same interface, so that every kernel is written once.
//
// Only for inclusion by compression_impl.h, inside the namespace of the instruction set. `m ? a : b` selects by lane for
// GCC's vector types and is the plain conditional for `Single`.

struct Single {
  static constexpr int64_t lanes = 1;
  using F = float;
  using I = int32_t;
  static F load(const float* p) { return *p; }
  static void store(float* p, F v) { *p = v; }
  static I load(const int32_t* p) { return *p; }
  static void store(int32_t* p, I v) { *p = v; }
  static bool keep(const uint8_t* mask) { return *mask != 0; }
  static I count(I sum, bool m) { return sum + m; }
  static F floats(float v) { return v; }
  static I integers(int32_t v) { return v; }
  static I iota() { return 0; }
  static F floor(F v) { return __builtin_floorf(v); }
  static I truncate(F v) { return static_cast<I>(v); }
  static F abs(F v) { return __builtin_fabsf(v); }
  static F gather(const float* table, I index) { return table[index]; }
  static I gather(const int32_t* table, I index) { return table[index]; }
  static bool all(bool m) { return m; }
  static float max(F v) { return v; }
};

#if defined(__AVX512F__)
#define PCQAT_LANES 16
#elif defined(__AVX2__)
#define PCQAT_LANES 8
#elif defined(__aarch64__) && !defined(PCQAT_SCALAR)
#define PCQAT_LANES 4
#else
#define PCQAT_LANES 1
#endif

#if PCQAT_LANES == 1
using Wide = Single;
#else
struct Wide {
  static constexpr int64_t lanes = PCQAT_LANES;
  typedef float F __attribute__((vector_size(PCQAT_LANES * 4)));
  typedef int32_t I __attribute__((vector_size(PCQAT_LANES * 4)));

  template <typename T, typename P>
  static T read(const P* p) {
    T v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
  static F load(const float* p) { return read<F>(p); }
  static I load(const int32_t* p) { return read<I>(p); }
  static void store(float* p, F v) { __builtin_memcpy(p, &v, sizeof v); }
  static void store(int32_t* p, I v) { __builtin_memcpy(p, &v, sizeof v); }
  static I count(I sum, I m) { return sum - m; }  // true lanes are -1
  static F floats(float v) { return v - F{}; }
  static I integers(int32_t v) { return v - I{}; }
  static I iota() {
    I v;
    for (int i = 0; i < PCQAT_LANES; ++i) v[i] = i;
    return v;
  }
  static I truncate(F v) { return __builtin_convertvector(v, I); }
  static F abs(F v) { return (F)((I)v & 0x7fffffff); }
  static float max(F v) {
    float best = v[0];
    for (int i = 1; i < PCQAT_LANES; ++i) best = v[i] > best ? v[i] : best;
    return best;
  }
  // Written by hand: GCC 12 expands the conversion from bytes into dozens of instructions.
#if PCQAT_LANES == 16
  static I keep(const uint8_t* mask) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(mask));
    return (I)_mm512_movm_epi32(_mm_test_epi8_mask(bytes, bytes));
  }
  static F floor(F v) { return _mm512_mask_roundscale_ps(v, 0xffff, v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  // Entry by entry: half the time of the gather instruction on CPUs of today.
  typedef int32_t Entry __attribute__((may_alias));
  static I gather(const Entry* table, I index) {
    alignas(64) int32_t at[16];
    __builtin_memcpy(at, &index, sizeof at);
    const auto four = [&](const int32_t* i) __attribute__((always_inline)) {
      const __m128i two = _mm_insert_epi32(_mm_cvtsi32_si128(table[i[0]]), table[i[1]], 1);
      return _mm_insert_epi32(_mm_insert_epi32(two, table[i[2]], 2), table[i[3]], 3);
    };
    const __m512i low = _mm512_inserti32x4(_mm512_zextsi128_si512(four(at)), four(at + 4), 1);
    return (I)_mm512_inserti32x4(_mm512_inserti32x4(low, four(at + 8), 2), four(at + 12), 3);
  }
  static F gather(const float* table, I index) { return (F)gather(reinterpret_cast<const Entry*>(table), index); }
  static bool all(I m) { return _mm512_movepi32_mask((__m512i)m) == 0xffff; }
#elif PCQAT_LANES == 8
  static I keep(const uint8_t* mask) { return (I)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(mask))) > 0; }
  static F floor(F v) { return _mm256_floor_ps(v); }
  static F gather(const float* table, I index) { return _mm256_i32gather_ps(table, (__m256i)index, 4); }
  static I gather(const int32_t* table, I index) { return (I)_mm256_i32gather_epi32(table, (__m256i)index, 4); }
  static bool all(I m) { return _mm256_movemask_ps((__m256)m) == 0xff; }
#else
  static I keep(const uint8_t* mask) {
    uint32_t bytes;
    __builtin_memcpy(&bytes, mask, sizeof bytes);
    return (I)vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(bytes)))) > 0;
  }
  static F floor(F v) { return vrndmq_f32(v); }
  template <typename T, typename V>
  static V pick(const T* table, I index) {
    return V{table[index[0]], table[index[1]], table[index[2]], table[index[3]]};
  }
  static F gather(const float* table, I index) { return pick<float, F>(table, index); }
  static I gather(const int32_t* table, I index) { return pick<int32_t, I>(table, index); }
  static bool all(I m) { return vminvq_u32((uint32x4_t)m) != 0; }
#endif
};
#endif

// Looks entries of a table of at most 32 up without touching memory again. Only AVX-512 has the instruction for it.
#if PCQAT_LANES == 16
struct SmallTable {
  __m512i low, high;
  SmallTable(const void* table, int64_t count) {
    const uint32_t bits = count >= 32 ? 0xffffffffu : (1u << count) - 1;
    low = _mm512_maskz_loadu_epi32((__mmask16)bits, table);
    high = _mm512_maskz_loadu_epi32((__mmask16)(bits >> 16), static_cast<const char*>(table) + 64);
  }
  Wide::I integers(Wide::I index) const { return (Wide::I)_mm512_permutex2var_epi32(low, (__m512i)index, high); }
  Wide::F floats(Wide::I index) const { return (Wide::F)integers(index); }
};
#endif
