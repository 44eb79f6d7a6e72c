// Included inside the namespace of each AVX-512 unit of the int8 family.

// (x·m + 2^30) >> 31 per lane. Only bits 31 to 62 of each 64-bit product are wanted, so a logical shift serves.
static inline Acc high_multiply(Acc x, Acc m) {
  const __m512i a = reinterpret_cast<__m512i>(x), b = reinterpret_cast<__m512i>(m), half = _mm512_set1_epi64(int64_t{1} << 30);
  const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(a, b), half);
  const __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32)), half);
  return reinterpret_cast<Acc>(_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 31), _mm512_slli_epi64(odd, 1)));
}
