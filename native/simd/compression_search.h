// Nearest centroid by searching thresholds (compression/codebook.h says where they come from). Part of compression_impl.h.

// Number of thresholds <= w among padded = 2^n - 1 sorted ones, without a branch that depends on w.
template <typename V>
typename V::I binary_search(const float* thresholds, int64_t padded, typename V::F w) {
  typename V::I position = V::integers(0);
  for (int32_t step = static_cast<int32_t>((padded + 1) / 2); step > 0; step /= 2) {
    const typename V::I next = position + step;
    position = w >= V::gather(thresholds, next - 1) ? next : position;
  }
  return position;
}

// The same by the grid (compression/codebook_search.h): a few steps for each lane, whatever the number of thresholds.
template <typename V>
typename V::I grid_search(const Codebook& book, typename V::F w) {
  const SearchGrid& grid = book.grid;
  const auto zero = V::floats(0), last = V::floats(static_cast<float>(grid.cells - 1));
  auto place = (w - V::floats(grid.first)) * V::floats(grid.scale);
  place = place > zero ? place : zero;  // 0 for a NaN
  place = place < last ? place : last;
  float weights[V::lanes];
  int32_t found[V::lanes];
  V::store(weights, w);
  V::store(found, V::truncate(place));
  for (int64_t lane = 0; lane < V::lanes; ++lane) {
    uint32_t bits;
    __builtin_memcpy(&bits, weights + lane, sizeof bits);
    const uint64_t key = bits >> 31 != 0 ? 0u - bits : bits ^ 0x80000000u, entry = grid.entries[found[lane]];
    found[lane] = static_cast<int32_t>(entry) + (key >= entry >> 32);
    if (found[lane] >= book.k) found[lane] = binary_search<Single>(book.thresholds, book.padded, weights[lane]);
  }
  return V::load(found);
}

// The same by comparing with every threshold: faster than gathering while there are few.
template <typename V>
typename V::I count_thresholds(const float* thresholds, int64_t count, int64_t stride, typename V::F w, int64_t column) {
  typename V::I position = V::integers(0);
  for (int64_t t = 0; t < count; ++t) {
    // Broadcast for a shared codebook, one threshold per channel otherwise.
    const typename V::F threshold = stride == 0 ? V::floats(thresholds[t]) : V::load(thresholds + t * stride + column);
    position = V::count(position, w >= threshold);
  }
  return position;
}

#if PCQAT_LANES == 16
// At most 31 thresholds, held in two registers.
Wide::I register_search(const SmallTable& thresholds, int32_t first_step, Wide::F w) {
  Wide::I position = Wide::integers(0);
  for (int32_t step = first_step; step > 0; step /= 2) {
    const Wide::I next = position + step;
    position = w >= thresholds.floats(next - 1) ? next : position;
  }
  return position;
}
#endif

// Stores the found indices; weights beyond the limit of the thresholds take the exact search, one by one.
template <typename V>
void store_indices(const Codebook& book, typename V::F w, typename V::F limit, typename V::I found, int64_t column, int32_t* indices) {
  V::store(indices, found);
  const auto safe = V::abs(w) <= limit;
  if (V::all(safe)) return;
  float weights[V::lanes];
  V::store(weights, w);
  for (int64_t lane = 0; lane < V::lanes; ++lane) {
    const int64_t row = book.channels == 0 ? 0 : column + lane;
    if (!(__builtin_fabsf(weights[lane]) <= book.limit[row])) indices[lane] = book.exact(book, row, weights[lane]);
  }
}

template <typename Fetch>
void assign_shared(int64_t count, const Fetch& fetch, const Codebook& book, int32_t* indices) {
#if PCQAT_LANES == 16
  const bool in_registers = book.padded <= kCountedThresholds;
  const SmallTable thresholds(book.thresholds, in_registers ? book.padded : 0);
  const SmallTable order(book.order, in_registers ? book.count[0] : 0);
  const int32_t first_step = static_cast<int32_t>((book.padded + 1) / 2);
#endif
  const float limit = book.limit[0];
  walk(1, count, [&](auto v, int64_t i, int64_t) {
    using V = decltype(v);
    const auto w = fetch.template get<V>(i, 0);
    if constexpr (V::lanes > 1) {
#if PCQAT_LANES == 16
      if (in_registers) {
        const auto position = register_search(thresholds, first_step, w);
        return store_indices<V>(book, w, V::floats(limit), order.integers(position), 0, indices + i);
      }
#else
      if (book.padded <= kCountedThresholds) {
        const auto position = count_thresholds<V>(book.thresholds, book.count[0] - 1, 0, w, 0);
        return store_indices<V>(book, w, V::floats(limit), V::gather(book.order, position), 0, indices + i);
      }
#endif
    }
    const auto position = book.grid.cells > 0 ? grid_search<V>(book, w) : binary_search<V>(book.thresholds, book.padded, w);
    store_indices<V>(book, w, V::floats(limit), V::gather(book.order, position), 0, indices + i);
  });
}

// Above this many centroids per channel, comparing with every threshold costs more than the exact search.
constexpr int64_t kCountedCentroids = 64;

template <typename Fetch>
void assign_per_channel(int64_t rows, int64_t columns, const Fetch& fetch, const Codebook& book, int32_t* indices) {
  if (book.k > kCountedCentroids) {
    return walk(rows, columns, [&](auto v, int64_t i, int64_t c) {
      using V = decltype(v);
      const auto w = fetch.template get<V>(i, c);
      float weights[V::lanes];
      V::store(weights, w);
      for (int64_t lane = 0; lane < V::lanes; ++lane) indices[i + lane] = book.exact(book, c + lane, weights[lane]);
    });
  }
  walk(rows, columns, [&](auto v, int64_t i, int64_t c) {
    using V = decltype(v);
    const auto w = fetch.template get<V>(i, c);
    const auto position = count_thresholds<V>(book.thresholds, book.k - 1, book.channels, w, c);
    const auto row = (V::iota() + static_cast<int32_t>(c)) * static_cast<int32_t>(book.k);
    store_indices<V>(book, w, V::load(book.limit + c), V::gather(book.order, row + position), c, indices + i);
  });
}

void assign(int64_t rows, int64_t columns, const Source& source, const Codebook& book, int32_t* indices) {
  const auto run = [&](const auto& fetch) {
    if (book.channels == 0)
      assign_shared(rows * columns, fetch, book, indices);
    else
      assign_per_channel(rows, columns, fetch, book, indices);
  };
  if (source.mask == nullptr)
    run(Plain{source.x});
  else
    run(Masked{source.x, source.mask});
}
