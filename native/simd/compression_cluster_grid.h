// Clustering with a codebook that is too large for registers: a table says how many thresholds lie below a weight's cell,
// and one comparison decides within the cell. Part of compression_cluster.h.

struct GridClusterer : ClusterPass {
  const ClusterBlock& block;
  const uint64_t *cells, *pairs;
  const __m512 first, scale, last;

  explicit GridClusterer(const ClusterBlock& block)
      : ClusterPass(block), block(block), cells(block.book->grid.entries), pairs(block.pairs),
        first(_mm512_set1_ps(block.book->grid.first)), scale(_mm512_set1_ps(block.book->grid.scale)),
        last(_mm512_set1_ps(static_cast<float>(block.book->grid.cells - 1))) {}

  // Writes what finds the pair of each of 16 weights, in the form of SearchGrid's entries: grid_key(w) and grid_cell(w).
  template <bool whole>
  __attribute__((always_inline)) void locate(int64_t i, __mmask16 lanes, uint64_t* keys) {
    const __m512 w = take<whole>(i, lanes), zero = _mm512_setzero_ps();
    const __m512 place = _mm512_maskz_max_ps(0xffff, _mm512_mul_ps(_mm512_sub_ps(w, first), scale), zero);  // 0 for a NaN
    const __m512i cell = _mm512_maskz_cvttps_epi32(0xffff, _mm512_maskz_min_ps(0xffff, place, last));
    const __m512i bits = _mm512_castps_si512(w), sign = _mm512_set1_epi32(INT32_MIN);
    const __m512i key = _mm512_mask_sub_epi32(_mm512_xor_si512(bits, sign), _mm512_movepi32_mask(bits), _mm512_setzero_si512(), bits);
    // As the low half of a key, a cell is above every position.
    const __m512i low_half = _mm512_or_si512(cell, _mm512_set1_epi32(static_cast<int32_t>(0xffff0000)));
    const __m512i front = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i back = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    _mm512_storeu_si512(keys, _mm512_permutex2var_epi32(low_half, front, key));
    _mm512_storeu_si512(keys + 8, _mm512_permutex2var_epi32(low_half, back, key));
  }

  // The integer units do this at the same time as the vector units do all the rest.
  __attribute__((always_inline)) const uint64_t* find(uint64_t key) const {
    const uint64_t cell = cells[key & 0xffff];
    return pairs + (static_cast<uint32_t>(cell) + (key >= cell));
  }

  __attribute__((always_inline)) __m512i find_eight(const uint64_t* keys) const {
    const auto two = [&](int at) __attribute__((always_inline)) {
      const __m128i lower = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(find(keys[at])));
      return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(lower), reinterpret_cast<const __m64*>(find(keys[at + 1]))));
    };
    const auto four = [&](int at) __attribute__((always_inline)) {
      return _mm256_inserti128_si256(_mm256_castsi128_si256(two(at)), two(at + 2), 1);
    };
    return _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(four(0)), four(4), 1);
  }

  // The indices with those of weights whose cell has more than one threshold. Static: the object must not leave its registers.
  __attribute__((noinline)) static __m512i decide(const ClusterBlock& b, int64_t i, __mmask16 undecided, __m512i index) {
    const Codebook& book = *b.book;
    int32_t indices[16];
    _mm512_storeu_si512(indices, index);
    for (int lane = 0; lane < 16; ++lane) {
      if ((undecided >> lane & 1) == 0) continue;
      const bool keep = b.mask == nullptr || b.mask[i + lane] != 0;
      indices[lane] = book.order[binary_search<Single>(book.thresholds, book.padded, keep ? b.weight[i + lane] : 0.0f)];
    }
    return _mm512_loadu_si512(indices);
  }

  template <bool whole>
  __attribute__((always_inline)) void write(int64_t i, __mmask16 lanes, const uint64_t* keys) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const __m512i front = find_eight(keys), back = find_eight(keys + 8);
    __m512i index = _mm512_permutex2var_epi32(front, even, back), used = _mm512_permutex2var_epi32(front, odd, back);
    const __mmask16 undecided = _mm512_movepi32_mask(index) & lanes;
    if (__builtin_expect(undecided != 0, 0)) {
      index = decide(block, i, undecided, index);
      const Wide::I decided = (Wide::I)_mm512_maskz_mov_epi32(undecided, index);
      used = _mm512_mask_mov_epi32(used, undecided, (__m512i)Wide::gather(b.table, decided));
    }
    give<whole>(i, lanes, index, used);
  }

  // Keys are written a few vectors before they are read again, so that nothing waits for a store.
  __attribute__((always_inline)) void run(int64_t i, int64_t vectors) {
    constexpr int kDelay = 4;  // vectors
    alignas(64) uint64_t buffers[2][kDelay * 16];
    uint64_t *keys = buffers[0], *next = buffers[1];
    const int64_t groups = vectors / kDelay;
    for (int v = 0; groups > 0 && v < kDelay; ++v) locate<true>(i + 16 * v, 0xffff, keys + 16 * v);
    for (int64_t group = 1; group < groups; ++group, i += 16 * kDelay) {
#pragma GCC unroll 4
      for (int v = 0; v < kDelay; ++v) {
        locate<true>(i + 16 * (kDelay + v), 0xffff, next + 16 * v);
        write<true>(i + 16 * v, 0xffff, keys + 16 * v);
      }
      uint64_t* const written = next;
      next = keys;
      keys = written;
    }
    for (int v = 0; groups > 0 && v < kDelay; ++v) write<true>(i + 16 * v, 0xffff, keys + 16 * v);
    if (groups > 0) i += 16 * kDelay;
    for (int64_t v = groups * kDelay; v < vectors; ++v, i += 16) {
      locate<true>(i, 0xffff, keys);
      write<true>(i, 0xffff, keys);
    }
  }

  // Every weight copies one pair, so a pair that is the entry of its index is checked once for all of them.
  bool pairs_are_entries() const {
    const Codebook& book = *b.book;
    bool right = true;
    for (int32_t p = 0; p < book.count[0]; ++p) {
      const uint32_t index = static_cast<uint32_t>(pairs[p]);
      uint32_t entry;
      __builtin_memcpy(&entry, b.table + (index < book.k ? index : 0), sizeof entry);
      right = right && index < book.k && entry == pairs[p] >> 32;
    }
    return right;
  }
};

bool cluster_by_grid(int64_t count, const ClusterBlock& b, float* low, float* high) {
  GridClusterer c(b);
  if (!c.pairs_are_entries()) return false;
  c.walk(
      count, [&](int64_t i, int64_t vectors) __attribute__((always_inline)) { c.run(i, vectors); },
      [&](int64_t i, __mmask16 lanes) __attribute__((always_inline)) {
        uint64_t keys[16];
        c.locate<false>(i, lanes, keys);
        c.write<false>(i, lanes, keys);
      });
  return c.finish(low, high);
}
